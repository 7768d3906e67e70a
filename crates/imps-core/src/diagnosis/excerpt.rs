//! What of a message may be shown. Registries repeat in their errors who asked, and links that are signed; terminals
//! obey control characters.

/// Longest excerpt, in characters: a line of a wide terminal, and the end of the message says most.
const EXCERPT_CHARS_MAX: usize = 400;

/// Longest text that is taken for a word and not for a token. Digests and tags that are commits are longer, and told
/// apart by what is before them.
const WORD_CHARS_MAX: usize = 32;

/// What tokens and keys begin with that may be shorter: those of GitHub, GitLab, Docker Hub, AWS and Google, and JSON
/// Web Tokens.
const TOKEN_PREFIXES: [&str; 11] =
    ["ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "dckr_pat_", "AKIA", "ASIA", "ya29", "eyJ"];

/// What stands before a name or a password that is written as `key=value`.
const TELLING_KEYS: [&str; 5] = ["user", "username", "password", "token", "secret"];

const HIDDEN: &str = "(hidden)";

/// The message without names of users, queries of links, and what looks like a token; its middle is cut if it is long.
pub fn excerpt(message: &str) -> String {
    let plain: String = message.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).collect();
    let mut words: Vec<String> = Vec::new();
    let mut hide_next = false;
    for word in plain.split_whitespace() {
        words.push(if hide_next { HIDDEN.to_owned() } else { shown_word(word) });
        let last = word.to_lowercase();
        let last = last.trim_matches(|c: char| !c.is_alphanumeric());
        hide_next = matches!(last, "user" | "username" | "bearer" | "basic" | "password");
    }
    shorten(&words.join(" "))
}

/// The name of an image as it is written, as far as it can be shown.
pub fn shown_image(image: &str) -> String {
    let before_path = image.split('/').next().unwrap_or_default();
    if before_path.contains('@') && !before_path.contains("@sha256:") {
        return HIDDEN.to_owned();
    }
    shorten(&image.chars().filter(|c| !is_obeyed(*c)).collect::<String>())
}

/// Whether a character says how others are to be shown and is none itself: controls, marks that turn the direction of
/// a text, separators of lines, and what has no width, by which a text looks like another.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn shown_word(word: &str) -> String {
    // A link: no login in front of the host, and no query, which may be signed.
    let word = match word.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let end: String = query.chars().rev().take_while(|c| "\":,])".contains(*c)).collect();
            format!("{scheme}://{host}{path}{}", end.chars().rev().collect::<String>())
        }
        None => word.to_owned(),
    };
    // An address of somebody, or of a service account; an image may have its digest there.
    if word.contains('@') && !word.contains("@sha256:") {
        return HIDDEN.to_owned();
    }
    if let Some((key, _)) = word.split_once('=')
        && TELLING_KEYS.iter().any(|telling| key.to_lowercase().ends_with(telling))
    {
        return format!("{key}={HIDDEN}");
    }
    let parts = word.split_inclusive(|c: char| !token_like(c));
    let mut shown = String::new();
    for part in parts {
        let body = part.trim_end_matches(|c: char| !token_like(c));
        let digest = shown.ends_with("sha256:") || shown.ends_with("sha512:");
        let commit =
            shown.ends_with(':') && shown.contains('/') && body.bytes().all(|b| b.is_ascii_hexdigit());
        let long = body.chars().count() > WORD_CHARS_MAX && !digest && !commit && !reads_as_name(body);
        if long || TOKEN_PREFIXES.iter().any(|prefix| body.starts_with(prefix)) {
            shown.push_str(HIDDEN);
            shown.push_str(&part[body.len()..]);
        } else {
            shown.push_str(part);
        }
    }
    shown
}

fn token_like(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+=_-".contains(c)
}

/// Lower-case words with hyphens between them, as repositories are named; a token has capitals or digits all over.
fn reads_as_name(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    text.contains('-') && !text.bytes().any(|b| b.is_ascii_uppercase()) && digits * 4 < text.len()
}

fn shorten(text: &str) -> String {
    let length = text.chars().count();
    if length <= EXCERPT_CHARS_MAX {
        return text.to_owned();
    }
    let half = EXCERPT_CHARS_MAX / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(length - half).collect();
    format!("{head} ... {tail}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_message_says_stays_readable() {
        let message = "Failed to pull image \"reg.io/team/app:1\": failed to resolve reference \
                       \"reg.io/team/app@sha256:0123456789012345678901234567890123456789012345678901234567890123\": \
                       not found";
        assert_eq!(excerpt(message), message);
        let commit = "image \"docker.io/cilium/startup-script:af2a99046c36ca0138551393b21a5c044c7fe79a\"";
        assert_eq!(excerpt(commit), commit);
        let link = "Get \"https://auth.docker.io/token?scope=a&service=b\": dial tcp: i/o timeout";
        assert_eq!(excerpt(link), "Get \"https://auth.docker.io/token\": dial tcp: i/o timeout");
    }

    #[test]
    fn nobody_and_no_token_is_named() {
        for (message, hidden) in [
            ("denied: User: arn:aws:sts::1:assumed-role/canary is not authorized", "canary"),
            ("Get https://me:canary@reg.io/v2/x: denied", "canary"),
            ("Authorization: Bearer canary", "canary"),
            ("GET https://reg.io/x?X-Amz-Signature=canary: 403", "canary"),
            ("token AQICAHhSWCanaryAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0 refused", "Canary"),
            ("user \"canary\" not found", "canary"),
            ("login with username=canary failed", "canary"),
            ("denied for canary@project.iam.gserviceaccount.com", "canary"),
            ("token ghp_canary refused", "canary"),
            ("bad token eyJcanary.e30.sig", "canary"),
        ] {
            assert!(!excerpt(message).contains(hidden), "{}", excerpt(message));
        }
        assert_eq!(shown_image("me:canary@reg.io/x"), "(hidden)");
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        assert_eq!(excerpt("a\u{1b}[31mred\nb"), "a [31mred b");
        assert_eq!(shown_image("reg.io/\u{1b}[2Jx"), "reg.io/[2Jx");
        // A text that reads backwards, and a name that only looks like another.
        assert_eq!(excerpt("a\u{202e}gnp.exe\u{2066}"), "a gnp.exe");
        assert_eq!(shown_image("reg.io/a\u{200b}b\u{feff}"), "reg.io/ab");
    }

    #[test]
    fn a_long_message_keeps_both_ends() {
        let long = excerpt(&format!("begin {} end", "word ".repeat(500)));
        assert!(long.starts_with("begin") && long.ends_with("end") && long.chars().count() < 420);
    }

    proptest! {
        #[test]
        fn no_token_gets_through_whatever_is_around_it(
            before in "[ -~]{0,20}",
            token in "[A-Za-z0-9]{20}[A-Z0-9]{40,60}",
            after in "[ ,:;\")]?",
        ) {
            prop_assume!(!before.ends_with("sha256:") && !before.ends_with("sha512:"));
            let shown = excerpt(&format!("{before}{token}{after}"));
            prop_assert!(!shown.contains(&token), "{shown}");
        }

        #[test]
        fn nothing_in_a_message_makes_it_stumble(message in "\\PC{0,60}") {
            let shown = excerpt(&message);
            prop_assert!(!shown.chars().any(is_obeyed));
            let _ = shown_image(&message);
        }
    }
}
