//! JSON values that accept any kind: a field that changed its type is absent, not an error, so that a newer agent
//! never costs us a whole event. And bounded: what is not wanted is skipped while reading, never stored, so one
//! hostile line of 8 MiB cannot become a tree of hundreds.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;
use std::marker::PhantomData;

/// How many elements of one list or object are kept. A model's answer has a handful of blocks, a run some denials.
const ELEMENTS_MAX: usize = 1_000;

/// A string, number or truth value; nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar {
    #[default]
    Absent,
    Text(String),
    Number(f64),
    Bool(bool),
}

impl Scalar {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> String {
        self.as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A finite number that is not negative. Sizes, counts and amounts are never anything else.
    pub(super) fn as_amount(&self) -> Option<f64> {
        match self {
            Self::Number(value) if value.is_finite() && *value >= 0.0 => Some(*value),
            _ => None,
        }
    }

    /// As [`Self::as_amount`], in whole units; the conversion saturates.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked by as_amount, saturates"
    )]
    pub(super) fn as_count(&self) -> Option<u64> {
        self.as_amount().map(|value| value.round() as u64)
    }
}

/// An object read as `T`; anything else is `T`'s default.
#[derive(Clone, Debug, Default)]
pub(super) struct Object<T>(pub(super) T);

/// A list, or the values of an object; anything else is empty. `T` is one of these types itself.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A bare text, or a list; an object is a list of one, anything else is an empty list. `T` is one of these types itself.
#[derive(Clone, Debug)]
pub(super) enum Content<T> {
    Text(String),
    Blocks(Vec<T>),
}

impl<T> Default for Content<T> {
    fn default() -> Self {
        Self::Blocks(Vec::new())
    }
}

/// A bare text or an object; anything else is `T`'s default.
#[derive(Clone, Debug)]
pub(super) enum TextOr<T> {
    Text(String),
    Object(T),
}

impl<T: Default> Default for TextOr<T> {
    fn default() -> Self {
        Self::Object(T::default())
    }
}

/// Ends a map or list that is not wanted: the rest has to be read, and nothing of it is kept.
fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn read_list<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<T>, A::Error> {
    let mut elements = Vec::new();
    while elements.len() < ELEMENTS_MAX {
        match list.next_element::<T>()? {
            Some(element) => elements.push(element),
            None => return Ok(elements),
        }
    }
    skip_list(list)?;
    Ok(elements)
}

/// The methods of a visitor that takes none of these kinds, and the ways in which JSON says "nothing".
macro_rules! other_kinds_are_default {
    ($($kind:ident),*) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any value")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        $(other_kinds_are_default!(@ $kind);)*
    };
    (@ scalars) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
    (@ text) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
    (@ list) => {
        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            skip_list(list).map(|()| Self::Value::default())
        }
    };
    (@ map) => {
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            skip_map(map).map(|()| Self::Value::default())
        }
    };
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    other_kinds_are_default!(list, map);

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "no count or amount comes near 2^53")]
    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "no count or amount comes near 2^53")]
    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(value))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    other_kinds_are_default!(scalars, text, list);

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    other_kinds_are_default!(scalars, text);

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<List<T>, A::Error> {
        read_list(list).map(List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<T>, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < ELEMENTS_MAX {
            match map.next_entry::<IgnoredAny, T>()? {
                Some((_, element)) => elements.push(element),
                None => return Ok(List(elements)),
            }
        }
        skip_map(map)?;
        Ok(List(elements))
    }
}

struct ContentVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ContentVisitor<T> {
    type Value = Content<T>;

    other_kinds_are_default!(scalars);

    fn visit_str<E>(self, value: &str) -> Result<Content<T>, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Content<T>, A::Error> {
        read_list(list).map(Content::Blocks)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|element| Content::Blocks(vec![element]))
    }
}

struct TextOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<T>;

    other_kinds_are_default!(scalars, list);

    fn visit_str<E>(self, value: &str) -> Result<TextOr<T>, E> {
        Ok(TextOr::Text(value.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOr<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Object)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Content<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Shape {
        a: Scalar,
        b: List<Object<Inner>>,
        c: Content<Scalar>,
        d: TextOr<Inner>,
        e: Object<Inner>,
    }

    #[derive(Clone, Debug, Default, Deserialize)]
    #[serde(default)]
    struct Inner {
        x: Scalar,
    }

    #[test]
    fn every_field_accepts_every_kind() {
        let kinds = [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "0.5",
            "\"t\"",
            "[]",
            "[1,[2],{\"x\":3}]",
            "{}",
            "{\"x\":{\"y\":1}}",
            "{\"x\":4,\"z\":[5]}",
        ];
        for kind in kinds {
            for field in ["a", "b", "c", "d", "e", "unknown"] {
                let text = format!("{{\"before\":[1],\"{field}\":{kind},\"a2\":0}}");
                let read: Result<Shape, _> = serde_json::from_str(&text);
                assert!(read.is_ok(), "{text}: {read:?}");
            }
        }
    }

    #[test]
    fn a_list_keeps_its_first_elements_only() {
        let many = format!("{{\"b\":[{}{{}}],\"a\":7}}", "{},".repeat(5_000));
        let read: Shape = serde_json::from_str(&many).unwrap();
        assert_eq!((read.b.0.len(), read.a.as_count()), (ELEMENTS_MAX, Some(7)));
        let by_name: Shape = serde_json::from_str(r#"{"b":{"m1":{"x":1},"m2":{"x":2}}}"#).unwrap();
        assert_eq!(by_name.b.0[1].0.x.as_count(), Some(2));
    }

    #[test]
    fn amounts_are_finite_and_not_negative() {
        let rows = [("-1", None), ("1e400", None), ("0.4", Some(0)), ("1795200923", Some(1_795_200_923))];
        for (text, count) in rows {
            let scalar: Scalar = serde_json::from_str(text).unwrap_or_default();
            assert_eq!(scalar.as_count(), count, "{text}");
        }
    }
}
