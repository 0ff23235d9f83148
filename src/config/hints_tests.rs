//! The options and keys that the reasons name exist, and can be set.

use super::keys::{self, NOT_BUILT};
use crate::domain::options::OptionName;
use crate::domain::reason::ReasonCode;

/// Members of clients that are no options.
const OF_CLIENTS: [&str; 1] = ["defaultBranch"];

fn is_refused(path: &str) -> bool {
    NOT_BUILT.contains(&path)
}

#[test]
fn every_option_and_key_that_a_hint_names_can_be_set() {
    let (mut options, mut settings) = (0, 0);
    for code in ReasonCode::ALL {
        let text = format!("{} {}", code.hint(), code.hint_while_it_goes_on()).replace("<name>", "name");
        let is_of_word = |one: char| one.is_alphanumeric() || "._[]".contains(one);
        for word in text.split(|one| !is_of_word(one)).map(|word| word.trim_end_matches('.')) {
            let section = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
            if let Some(section) = section {
                assert!(keys::is_section(section) && !is_refused(section), "{code}: [{section}]");
                settings += 1;
            } else if let Some((top, _)) = word.split_once('.').filter(|(top, _)| !top.is_empty()) {
                assert!(keys::find(word).is_some() && !is_refused(word), "{code}: {word} of {top}");
                settings += 1;
            } else if word.starts_with(char::is_lowercase) && word.contains(char::is_uppercase) {
                let is_option = OptionName::ALL.iter().any(|name| name.camel_case() == word);
                assert!(is_option || OF_CLIENTS.contains(&word), "{code}: {word}");
                options += 1;
            }
        }
    }
    assert!(options >= 8 && settings >= 8, "{options} options and {settings} settings in all hints");
}
