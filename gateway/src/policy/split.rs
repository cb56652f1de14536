//! Cuts a Cedar file into its policies and remembers the line of each.
//!
//! Cedar's own parser forgets where a policy stood once it is part of a set. A policy ends with `;` outside of strings
//! and comments; what is between is left to Cedar, so a mistake is reported by it, at the right place.

/// The text of one policy and where it starts in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub text: &'a str,
    /// In bytes from the start of the file.
    pub offset: usize,
}

/// The policies of a file in order. What follows the last `;`, apart from comments, is a piece of its own.
pub(super) fn split(file: &str) -> Vec<Piece<'_>> {
    let mut pieces = vec![];
    // Where the policy's first character is; none in the blanks and comments before it.
    let mut start = None;
    let mut chars = file.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match char {
            '/' if chars.peek().is_some_and(|(_, next)| *next == '/') => {
                while chars.next_if(|(_, next)| *next != '\n').is_some() {}
            }
            _ if char.is_whitespace() => {}
            ';' => {
                let offset = start.take().unwrap_or(at);
                pieces.extend(file.get(offset..=at).map(|text| Piece { text, offset }));
            }
            _ => {
                start.get_or_insert(at);
                if char == '"' {
                    skip_string(&mut chars);
                }
            }
        }
    }
    let rest = start.and_then(|offset| Some(Piece { text: file.get(offset..)?, offset }));
    pieces.extend(rest);
    pieces
}

fn skip_string(chars: &mut impl Iterator<Item = (usize, char)>) {
    while let Some((_, char)) = chars.next() {
        match char {
            '"' => return,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
}

/// The line, counted from 1, of a place in a text.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, expected: &[(&str, usize)]) {
        let pieces = split(file);
        let found = pieces.iter().map(|piece| (piece.text, line_at(file, piece.offset))).collect::<Vec<_>>();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_policy_starts_after_blanks_and_comments_and_ends_with_its_semicolon() {
        check("", &[]);
        check("// only; a comment\n\n", &[]);
        check("permit(principal, action, resource);", &[("permit(principal, action, resource);", 1)]);
        check("// a;\n@id(\"x\")\npermit();\n\n  forbid(); // b\n", &[("@id(\"x\")\npermit();", 2), ("forbid();", 5)]);
    }

    #[test]
    fn semicolons_in_strings_and_comments_end_nothing() {
        check(r#"permit() when { "a;\";" == "//" }; b;"#, &[(r#"permit() when { "a;\";" == "//" };"#, 1), ("b;", 1)]);
        check("permit() // ;\n;", &[("permit() // ;\n;", 1)]);
    }

    proptest::proptest! {
        #[test]
        fn pieces_lie_in_order_and_only_blanks_and_comments_are_between(file in "[a\"\\\\/;\n é]{0,40}") {
            let mut end = 0;
            for piece in split(&file) {
                assert_eq!(file.get(piece.offset..piece.offset + piece.text.len()), Some(piece.text));
                assert!(only_blanks_and_comments(&file[end..piece.offset]), "{file:?}");
                end = piece.offset + piece.text.len();
            }
            assert!(only_blanks_and_comments(&file[end..]), "{file:?}");
        }
    }

    fn only_blanks_and_comments(text: &str) -> bool {
        text.lines().all(|line| line.split("//").next().unwrap().trim().is_empty())
    }

    #[test]
    fn what_is_left_open_is_a_piece_too() {
        check("a;\nb", &[("a;", 1), ("b", 2)]);
        check("a \"open;", &[("a \"open;", 1)]);
        check(";", &[(";", 1)]);
    }
}
