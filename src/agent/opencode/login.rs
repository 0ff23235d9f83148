//! Its file of logins, which can say more than that: an entry may name an address from which further settings and variables are taken.

use serde_json::{Map, Value};

/// What a login of the kind that renews itself has of its own each time.
const RENEWED: [&str; 3] = ["access", "refresh", "expires"];
const KIND: &str = "oauth";

/// `own` with the tokens that `copy` has renewed; of logins that are there, and nothing else. `None`: nothing was.
pub(super) fn renewed(own: &[u8], copy: &[u8]) -> Option<Vec<u8>> {
    let mut logins: Map<String, Value> = serde_json::from_slice(own).ok()?;
    let copy: Map<String, Value> = serde_json::from_slice(copy).ok()?;
    let mut has_changed = false;
    for (name, login) in &mut logins {
        let (Some(login), Some(Value::Object(renewed))) = (login.as_object_mut(), copy.get(name)) else {
            continue;
        };
        let is_one = |login: &Map<String, Value>| login.get("type").and_then(Value::as_str) == Some(KIND);
        if !is_one(login) || !is_one(renewed) || expires(renewed) <= expires(login) {
            continue;
        }
        for field in RENEWED {
            if let Some(value @ (Value::String(_) | Value::Number(_))) = renewed.get(field) {
                login.insert(field.to_owned(), value.clone());
                has_changed = true;
            }
        }
    }
    has_changed.then(|| serde_json::to_vec_pretty(&logins).ok())?
}

/// Milliseconds since 1970; a login of which nobody knows is the oldest.
fn expires(login: &Map<String, Value>) -> i64 {
    login.get("expires").and_then(Value::as_i64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_renewed_tokens_of_known_logins_come_back() {
        let own = json!({
            "a": {"type": "oauth", "access": "1", "refresh": "2", "expires": 5, "accountId": "x"},
            "b": {"type": "api", "key": "k"},
        });
        let come_back = |copy: Value| {
            let found = renewed(own.to_string().as_bytes(), copy.to_string().as_bytes());
            found.map(|text| serde_json::from_slice::<Value>(&text).unwrap())
        };
        let mut copy = own.clone();
        assert_eq!(come_back(copy.clone()), None);
        copy["a"] =
            json!({"type": "oauth", "access": "3", "refresh": "4", "expires": 9, "accountId": "y", "z": []});
        copy["b"]["key"] = "other".into();
        copy["http://127.0.0.1"] = json!({"type": "wellknown", "key": "BASH_ENV", "token": "/tmp/x"});
        let mut expected = own.clone();
        expected["a"] =
            json!({"type": "oauth", "access": "3", "refresh": "4", "expires": 9, "accountId": "x"});
        assert_eq!(come_back(copy.clone()), Some(expected));
        // older than what is there, by another program meanwhile; another kind; no file of logins at all
        copy["a"]["expires"] = 4.into();
        assert_eq!(come_back(copy.clone()), None);
        copy["a"] = json!({"type": "wellknown", "key": "K", "token": "t", "expires": 99});
        assert_eq!(come_back(copy), None);
        assert_eq!((come_back(json!([])), come_back(json!("x"))), (None, None));
    }
}
