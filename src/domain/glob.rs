//! Patterns for names and paths. Every text is a pattern: there is nothing to be invalid.

/// Whether a name fits a pattern in which `*` stands for any text.
#[must_use]
pub fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    fits(pattern, name, |byte| *byte == b'*', |byte, other| byte == other)
}

/// Whether a path below some directory fits a pattern, or lies below something that does. `*` stands for any text within a
/// name, `?` for one byte of it, `**` as a name of its own for any directories, none included. Everything else is meant as
/// it is written; `./` before it says nothing.
#[must_use]
pub fn path_matches(pattern: &str, path: &[u8]) -> bool {
    let pattern = names_of(pattern);
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    !pattern.is_empty()
        && (1..=names.len()).any(|length| fits(&pattern, &names[..length], is_star, name_fits))
}

/// Whether something below the directory at `path` may fit: whoever looks for what fits need not enter the others.
#[must_use]
pub fn may_match_below(pattern: &str, path: &[u8]) -> bool {
    let pattern = names_of(pattern);
    let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let led = pattern.iter().take_while(|name| !is_star(name));
    !pattern.is_empty() && led.zip(&mut names).all(|(pattern, name)| name_fits(pattern, &name))
}

fn names_of(pattern: &str) -> Vec<&[u8]> {
    let names = pattern.as_bytes().split(|byte| *byte == b'/');
    names.filter(|name| !name.is_empty() && *name != b".").collect()
}

fn is_star(name: &&[u8]) -> bool {
    *name == b"**"
}

fn name_fits(pattern: &&[u8], name: &&[u8]) -> bool {
    fits(pattern, name, |byte| *byte == b'*', |byte, other| *byte == b'?' || byte == other)
}

/// In linear time: on a mismatch it goes back to the last star.
fn fits<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    is_same: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && is_star(&pattern[p]) {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && is_same(&pattern[p], &text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, star_t + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_patterns() {
        let rows = [
            (".env", ".env", true),
            (".env", "web/.env", false),
            (".env", ".envrc", false),
            (".env*", ".env.local", true),
            ("**/.env", ".env", true),
            ("**/.env", "web/deep/.env", true),
            ("web/*/x.pem", "web/a/x.pem", true),
            ("web/*/x.pem", "web/a/b/x.pem", false),
            ("web/**/x.pem", "web/a/b/x.pem", true),
            ("certs/", "certs/a/b.pem", true),
            ("certs", "certs2/a", false),
            ("*", "a/b", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a]", "[a]", true),
            ("a**", "abc", true),
            ("/", "a", false),
            ("./a/./b", "a/b", true),
            (".", "a", false),
        ];
        for (pattern, path, expected) in rows {
            assert_eq!(path_matches(pattern, path.as_bytes()), expected, "{pattern} {path}");
        }
        assert!(name_matches(b"release/*", b"release/a/b") && !name_matches(b"a?", b"ab"));
    }

    /// Of every path that fits, all directories on the way are entered.
    #[test]
    fn directories_that_lead_nowhere_are_told() {
        let rows = [
            ("out/*.html", "", true),
            ("out/*.html", "out", true),
            ("out/*.html", "src", false),
            ("out", "out/deep", true),
            ("./out", "out", true),
            ("**/x", "any/where", true),
            ("a/**/x", "a/b/c", true),
            ("a/**/x", "b", false),
            ("a/b*/x", "a/bc", true),
            ("a/b*/x", "a/c", false),
            ("/", "", false),
        ];
        for (pattern, path, expected) in rows {
            assert_eq!(may_match_below(pattern, path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_take_no_longer() {
        let pattern = "*a".repeat(127);
        assert!(!path_matches(
            &pattern,
            &[b'a'; 4_000][..].iter().copied().chain([b'b']).collect::<Vec<_>>()
        ));
    }
}
