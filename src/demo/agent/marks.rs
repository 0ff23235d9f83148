//! The marks in a prompt that choose what the scripted agent does.

/// One `[[scenario:NAME key=value …]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: String,
    values: Vec<(String, String)>,
}

impl Mark {
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value as a number, or `default` when it is absent or none.
    pub(super) fn number(&self, key: &str, default: u64) -> u64 {
        self.value(key).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

/// All marks of a prompt in their order. A mark without its end is none.
pub(super) fn find_marks(prompt: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    for after in prompt.split("[[scenario:").skip(1) {
        let mut words = words(after);
        if !words.is_empty() {
            let name = words.remove(0);
            let pair = |word: String| {
                let (key, value) = word.split_once('=').unwrap_or((&word, ""));
                (key.to_owned(), value.to_owned())
            };
            marks.push(Mark { name, values: words.into_iter().map(pair).collect() });
        }
    }
    marks
}

/// The words up to `]]`, separated by blanks outside of double quotes; `\n`, `\"` and `\\` inside of them mean what
/// they usually do. Empty when the end is missing.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word = String::new();
    let mut quoted = false;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => match characters.next() {
                Some((_, 'n')) => word.push('\n'),
                Some((_, other)) => word.push(other),
                None => return Vec::new(),
            },
            ']' if !quoted && text[at..].starts_with("]]") => {
                words.push(word);
                words.retain(|word| !word.is_empty());
                return words;
            }
            _ if character.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_in_order_with_their_values() {
        let marks = find_marks(
            "Do it. [[scenario:gate file=/tmp/a]] then [[scenario:write path=a.txt content=\"two ]] words\\n\"]]!",
        );
        assert_eq!(marks.len(), 2);
        assert_eq!((marks[0].name.as_str(), marks[0].value("file")), ("gate", Some("/tmp/a")));
        assert_eq!(marks[1].value("content"), Some("two ]] words\n"));
        assert_eq!((marks[1].number("x", 7), marks[1].value("y")), (7, None));
    }

    #[test]
    fn a_mark_without_end_or_name_is_none() {
        for prompt in ["", "[[scenario:edit", "[[scenario:]]", "[[scenario:a b=\"]]", "[[scenario:a \"\\"] {
            assert_eq!(find_marks(prompt), [], "{prompt}");
        }
    }
}
