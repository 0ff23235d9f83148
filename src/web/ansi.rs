//! What programs wrote for a terminal, for a page: colours as classes, everything else that steers left out, and what
//! would deceive the eye made visible.

use std::borrow::Cow;

use maud::{Markup, PreEscaped, Render as _};

/// What is on at some place of a text; numbers are those of the sixteen colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pen {
    fore: Option<u8>,
    back: Option<u8>,
    bold: bool,
    faint: bool,
    italic: bool,
    underlined: bool,
}

/// The text as markup.
pub(super) fn ansi(text: &str) -> Markup {
    let text = &as_written(text);
    let mut page = Page::default();
    page.take(text);
    page.finish()
}

/// The words alone.
pub(super) fn plain(text: &str) -> String {
    let mut page = Page { is_plain: true, ..Page::default() };
    page.take(&as_written(text));
    page.html
}

/// Records write out what acts on a terminal (`\x1b[31m`); whoever wrote that himself loses no more than some colour.
fn as_written(text: &str) -> Cow<'_, str> {
    if !text.contains("\\x") {
        return text.into();
    }
    text.replace("\\x1b", "\u{1b}").replace("\\x0d", "\r").replace("\\x07", "\u{7}").into()
}

/// Of a line that was written over again and again, what was written last.
fn last_state(line: &str) -> &str {
    let body = line.trim_end_matches(['\n', '\r']);
    match body.rfind('\r') {
        Some(at) => &line[at + 1..],
        None => line,
    }
}

#[derive(Default)]
struct Page {
    html: String,
    /// No markup is made: what comes out is text.
    is_plain: bool,
    pen: Pen,
    /// What the open span shows.
    open: Pen,
}

impl Page {
    fn take(&mut self, text: &str) {
        for line in text.split_inclusive('\n') {
            let mut rest = last_state(line);
            while let Some(at) = rest.find('\u{1b}') {
                self.write(&rest[..at]);
                rest = self.escape(&rest[at + 1..]);
            }
            self.write(rest);
        }
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.is_plain {
            self.html.push_str(&shown(text));
            return;
        }
        if self.open != self.pen {
            self.close();
            let classes = self.pen.classes();
            if !classes.is_empty() {
                // no letter of it comes from the text
                self.html.push_str("<span class=\"");
                self.html.push_str(&classes.join(" "));
                self.html.push_str("\">");
            }
            self.open = self.pen;
        }
        shown(text).render_to(&mut self.html);
    }

    fn close(&mut self) {
        if self.open != Pen::default() {
            self.html.push_str("</span>");
            self.open = Pen::default();
        }
    }

    fn finish(mut self) -> Markup {
        self.close();
        PreEscaped(self.html)
    }

    /// Takes one sequence in and gives what stands behind it.
    fn escape<'t>(&mut self, text: &'t str) -> &'t str {
        match text.as_bytes().first() {
            Some(b'[') => {
                let body = &text[1..];
                let Some(end) = body.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c)) else { return "" };
                if body.as_bytes()[end] == b'm' {
                    self.pen.take(&body[..end]);
                }
                &body[end + 1..]
            }
            // titles, links, the clipboard: up to BEL or ST
            Some(b']' | b'P' | b'_' | b'^' | b'X') => match text.find(['\u{7}', '\u{1b}']) {
                Some(end) => text[end + 1..].trim_start_matches('\\'),
                None => "",
            },
            Some(_) => text.char_indices().nth(1).map_or("", |(at, _)| &text[at..]),
            None => "",
        }
    }
}

impl Pen {
    fn take(&mut self, codes: &str) {
        let mut codes = codes.split([';', ':']).map(|code| if code.is_empty() { "0" } else { code });
        while let Some(code) = codes.next() {
            let Ok(code) = code.parse::<u8>() else { return };
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.faint = true,
                3 => self.italic = true,
                4 => self.underlined = true,
                22 => (self.bold, self.faint) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                30..=37 => self.fore = Some(code - 30),
                90..=97 => self.fore = Some(code - 82),
                39 => self.fore = None,
                40..=47 => self.back = Some(code - 40),
                100..=107 => self.back = Some(code - 92),
                49 => self.back = None,
                // of many colours the sixteen are enough; the others are read over
                38 | 48 => {
                    let colour = match codes.next() {
                        Some("5") => {
                            codes.next().and_then(|number| number.parse().ok()).filter(|number| *number < 16)
                        }
                        Some("2") => codes.by_ref().take(3).last().and(None),
                        _ => None,
                    };
                    if code == 38 { self.fore = colour } else { self.back = colour }
                }
                _ => {}
            }
        }
    }

    fn classes(self) -> Vec<String> {
        let mut classes = Vec::new();
        classes.extend(self.fore.map(|number| format!("f{number}")));
        classes.extend(self.back.map(|number| format!("b{number}")));
        let marks = [(self.bold, "sb"), (self.faint, "sf"), (self.italic, "si"), (self.underlined, "su")];
        classes.extend(marks.iter().filter(|(on, _)| *on).map(|(_, class)| (*class).to_owned()));
        classes
    }
}

/// Without what steers; what turns the direction of reading, or takes no room, by its number.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => shown.push(letter),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(letter)));
            }
            _ if letter.is_control() => {}
            _ => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_nothing_else_gets_through() {
        let table = [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m <b>", "<span class=\"f1\">red</span> &lt;b&gt;"),
            (
                "\u{1b}[1;4;92;41mx\u{1b}[22;39my",
                "<span class=\"f10 b1 sb su\">x</span><span class=\"b1 su\">y</span>",
            ),
            ("\u{1b}[38;5;4mb\u{1b}[38;5;200mc\u{1b}[38;2;1;2;3md", "<span class=\"f4\">b</span>cd"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b\u{1b}[2Jc\u{1b}", "abc"),
            ("\u{1b}[", ""),
            ("10%\r50%\r100%\ndone\r\n", "100%\ndone\n"),
            ("a\u{202e}b\u{200b}\u{7}", "a⟨U+202E⟩b⟨U+200B⟩"),
            ("\u{1b}[31;<script>mx", "cript&gt;mx"),
            ("\u{1b}é\u{1b}]é", ""),
            ("1\\x0d\\x1b[31mred\\x1b[0m 2\\x07", "<span class=\"f1\">red</span> 2"),
        ];
        for (text, expected) in table {
            assert_eq!(ansi(text).into_string(), expected, "{text:?}");
        }
        assert_eq!(plain("\\x1b[31m<b>\\x1b[0m"), "<b>");
    }

    proptest::proptest! {
        #[test]
        fn nothing_of_the_text_becomes_a_tag(text in "[\u{1b}\\[\\]0-9;m<>&\"'a\u{7}\\\\é\r\n]{0,60}") {
            let html = ansi(&text).into_string();
            let rest = html.replace("</span>", "");
            for piece in rest.split('<').skip(1) {
                proptest::prop_assert!(piece.starts_with("span class=\""), "{html}");
            }
            proptest::prop_assert_eq!(html.matches("<span").count(), html.matches("</span>").count());
        }
    }
}
