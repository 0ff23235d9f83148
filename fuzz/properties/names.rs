//! Names that become paths, refs and arguments.

use offshoot::domain::branch::{BRANCH_BYTES_MAX, BranchName};
use offshoot::domain::client::RepositoryName;

/// The rules of git-check-ref-format(1) for `--branch`, over bytes. The single `@` that it forbids is a whole ref, not a branch.
pub fn git_accepts(name: &[u8]) -> bool {
    let has = |word: &[u8]| name.windows(word.len()).any(|window| window == word);
    let parts = || name.split(|byte| *byte == b'/');
    !name.is_empty()
        && !parts().any(|part| part.first() == Some(&b'.') || part.ends_with(b".lock"))
        && !has(b"..")
        && !name.iter().any(|byte| *byte < 0x20 || *byte == 0x7f || b" ~^:?*[\\".contains(byte))
        && !parts().any(<[u8]>::is_empty)
        && name.last() != Some(&b'.')
        && !has(b"@{")
        && name.first() != Some(&b'-')
        && name != b"HEAD"
}

/// What ours refuses beyond git, so that "accepted" is known in both directions.
fn ours_accepts(name: &[u8]) -> bool {
    let parts = || name.split(|byte| *byte == b'/');
    git_accepts(name)
        && name.len() <= BRANCH_BYTES_MAX
        && name
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-'))
        && !parts().any(|part| part.last() == Some(&b'.'))
        && !parts().any(|part| part.len() >= 5 && part[part.len() - 5..].eq_ignore_ascii_case(b".lock"))
        && !name.starts_with(b"refs/")
}

/// `name`, and after a newline a second one, a pattern, a title.
pub(super) fn branch(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(4, '\n');
    let [first, second, pattern, title] = [(); 4].map(|()| lines.next().unwrap_or_default());
    let parsed = BranchName::parse(first);
    assert_eq!(parsed.is_ok(), ours_accepts(first.as_bytes()), "{first:?}: {parsed:?}");
    let made_up = BranchName::for_job(i64::try_from(data.len()).unwrap_or(0), title);
    assert_eq!(BranchName::parse(made_up.as_str()).as_ref(), Ok(&made_up), "{title:?}");
    let Ok(name) = parsed else { return };
    assert_eq!(name.as_str(), first);
    let suffixed = name.with_suffix(u32::try_from(data.len()).unwrap_or(1) * 7_919);
    assert_eq!(BranchName::parse(suffixed.as_str()).as_ref(), Ok(&suffixed), "{first:?}");
    assert_eq!(name.matches(pattern), fits(pattern.as_bytes(), first.as_bytes()), "{first:?} by {pattern:?}");
    assert!(name.matches(first) && name.matches("*"), "{first:?} by itself");
    let Ok(other) = BranchName::parse(second) else { return };
    let folded = |text: &str| text.split('/').map(str::to_ascii_lowercase).collect::<Vec<_>>();
    let (a, b) = (folded(first), folded(second));
    let is_within = a.iter().zip(&b).all(|(a, b)| a == b);
    assert_eq!(name.coexists_with(&other), !is_within, "{first:?} beside {second:?}");
    assert_eq!(name.coexists_with(&other), other.coexists_with(&name));
}

/// `*` is any run: which prefixes of the pattern fit which prefixes of the name, as a table.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut row: Vec<bool> = std::iter::once(true).chain(name.iter().map(|_| false)).collect();
    for byte in pattern {
        let mut next = vec![*byte == b'*' && row[0]; 1];
        for (at, letter) in name.iter().enumerate() {
            next.push(match byte {
                b'*' => next[at] || row[at + 1],
                _ => row[at] && byte == letter,
            });
        }
        row = next;
    }
    row[name.len()]
}

/// `org/repo`, cut at the first newline.
pub(super) fn repository(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (org, repo) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(name) = RepositoryName::parse(org, repo) else {
        let usual =
            |text: &str| (1..=39).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase());
        assert!(!(usual(org) && usual(repo)), "{org:?}/{repo:?} is an ordinary name");
        return;
    };
    assert_eq!((name.org(), name.repo()), (org, repo));
    for (part, bytes_max) in [(org, 39), (repo, 100)] {
        assert!((1..=bytes_max).contains(&part.len()), "{part:?}");
        assert!(part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{part:?}");
        // neither an option nor a step up, and one part of a path
        let path = std::path::Path::new(part);
        let mut parts = path.components();
        assert!(
            matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None)),
            "{part:?}"
        );
        assert!(!part.starts_with('-'), "{part:?}");
    }
    assert!(!org.contains('.'), "{org:?}");
    let (org_key, repo_key) = name.key();
    assert!(!repo_key.ends_with(".git") && !repo_key.ends_with(".wiki"), "{repo:?}");
    assert!(org_key.eq_ignore_ascii_case(org) && repo_key.eq_ignore_ascii_case(repo));
    let shouted = RepositoryName::parse(&org.to_ascii_uppercase(), &repo.to_ascii_uppercase());
    assert_eq!(shouted.as_ref(), Ok(&name), "the same repository");
    assert_eq!(name.to_string(), format!("{org}/{repo}"));
}
