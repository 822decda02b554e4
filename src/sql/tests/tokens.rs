//! Where tokens begin and end, in each form of quoting and next to each other.

use crate::sql::token::{Kind, Reading, Tokens};

/// The tokens; of those that have several forms, the kind too.
fn cut(text: &str, reading: Reading) -> String {
    let shown = Tokens::new(text.as_bytes(), reading).map(|token| {
        let text = String::from_utf8_lossy(token.text);
        match token.kind {
            Kind::Literal => format!("plain:{text}"),
            Kind::EscapeLiteral => format!("escape:{text}"),
            Kind::UnicodeLiteral => format!("unicode:{text}"),
            Kind::BitLiteral => format!("bits:{text}"),
            Kind::DollarLiteral => format!("dollar:{text}"),
            Kind::Quoted => format!("name:{text}"),
            Kind::UnicodeQuoted => format!("unicode-name:{text}"),
            Kind::Number => format!("number:{text}"),
            Kind::Parameter => format!("parameter:{text}"),
            Kind::Broken => format!("BROKEN:{text}"),
            _ => text.into_owned(),
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn tokens_are_those_of_the_server() {
    for (text, expected) in [
        ("a b1 _c d$e é_ SELECT", "a b1 _c d$e é_ SELECT"),
        ("1 1.5 .5 5.", "number:1 number:1.5 number:.5 number:5."),
        (
            "1e5 1E-5 1e+5 .5e1",
            "number:1e5 number:1E-5 number:1e+5 number:.5e1",
        ),
        ("1e 1e+", "number:1 e number:1 e +"),
        (
            "1..2 1.a 0x1F 1_0",
            "number:1 . number:.2 number:1. a number:0 x1F number:1 _0",
        ),
        ("$1 $12a $a $", "parameter:$1 parameter:$12 a $ a $"),
        ("'a' 'b''c' ''", "plain:'a' plain:'b''c' plain:''"),
        ("'a'\n'b'", "plain:'a'\n'b'"),
        ("'c' \t--d\r\n -- e\n'f'", "plain:'c' \t--d\r\n -- e\n'f'"),
        ("'a' /**/\n'b'", "plain:'a' plain:'b'"),
        ("'a' 'b'", "plain:'a' plain:'b'"),
        ("'a' -- b'", "plain:'a'"),
        ("'a' - 'b'", "plain:'a' - plain:'b'"),
        (r"E'\'' e'\\'", r"escape:E'\'' escape:e'\\'"),
        (r"E'a''' E 'b\'", r"escape:E'a''' E plain:'b\'"),
        ("E'a'\n'\\''", "escape:E'a'\n'\\''"),
        (r"U&'\' u&'a''b'", r"unicode:U&'\' unicode:u&'a''b'"),
        (
            r#"U&"a""b" u&"\""#,
            r#"unicode-name:U&"a""b" unicode-name:u&"\""#,
        ),
        (
            "U &'a' u&x U& 'a' &'b'",
            "U & plain:'a' u & x U & plain:'a' & plain:'b'",
        ),
        (r"B'01' b'\' X'1f'", r"bits:B'01' bits:b'\' bits:X'1f'"),
        ("N'a' xb'1' é'2'", "N plain:'a' xb plain:'1' é plain:'2'"),
        ("B'0''1'", "bits:B'0' plain:'1'"),
        ("B'0'\n'1'", "bits:B'0'\n'1'"),
        ("$$a'b$$", "dollar:$$a'b$$"),
        ("$x$ $$ $y$ $x$", "dollar:$x$ $$ $y$ $x$"),
        ("$x1$$x1$ $é$a$é$", "dollar:$x1$$x1$ dollar:$é$a$é$"),
        ("$a$ $A$ $a$", "dollar:$a$ $A$ $a$"),
        (
            "$1$a$b$a$ 1$$c$$",
            "parameter:$1 dollar:$a$b$a$ number:1 dollar:$$c$$",
        ),
        ("$a$$$a$a$", "dollar:$a$$$a$ a$"),
        ("a$$b$$", "a$$b$$"),
        (r#""a" "b""c" """#, r#"name:"a" name:"b""c" name:"""#),
        (r#""" "\""#, r#"name:"" name:"\""#),
        ("a||b <-> c::d := 1", "a || b <-> c : : d : = number:1"),
        ("1-1 1--1\n2", "number:1 - number:1 number:1 number:2"),
        (
            "2 */*c*/ 3 */ 4 //**/ - /",
            "number:2 * number:3 */ number:4 / - /",
        ),
        ("/* /* */ */ a /*/ b */ c /***/ d /**//**/ e", "a c d e"),
        ("a;b,(c.d)[1]", "a ; b , ( c . d ) [ number:1 ]"),
        ("a\0b", "a"),
        ("\t\n\u{b}\u{c}\r a", "a"),
        ("'a", "BROKEN:'a"),
        ("\"a", "BROKEN:\"a"),
        ("$$a$", "BROKEN:$$a$"),
        ("a /* /* */", "a BROKEN:/* /* */"),
        (r"E'a\'", r"BROKEN:E'a\'"),
        (r"E'a\", r"BROKEN:E'a\"),
        ("U&'a", "BROKEN:U&'a"),
        ("a -- b", "a"),
        ("", ""),
    ] {
        assert_eq!(cut(text, Reading::Standard), expected, "{text}");
    }
}

#[test]
fn plain_literals_have_two_readings() {
    for (text, standard, backslash) in [
        (r"'\''", r"BROKEN:'\''", r"plain:'\''"),
        (r"'\'", r"plain:'\'", r"BROKEN:'\'"),
        (r"N'\\'", r"N plain:'\\'", r"N plain:'\\'"),
        (
            r"'\' || '\'",
            r"plain:'\' || plain:'\'",
            r"plain:'\' || ' \ BROKEN:'",
        ),
    ] {
        assert_eq!(cut(text, Reading::Standard), standard, "{text}");
        assert_eq!(cut(text, Reading::Backslash), backslash, "{text}");
    }
}

#[test]
fn other_quotes_have_one_reading() {
    for (text, doubtful) in [
        (r"'\'", true),
        (r"n'\'", true),
        ("'a'\n'\\'", true),
        ("'a'", false),
        (r"E'\n'", false),
        (r"U&'\0061'", false),
        (r"$$\$$ B'\' X'\'", false),
        (r#""\""#, false),
        (r"-- '\'", false),
        (r"/* '\' */", false),
    ] {
        for reading in [Reading::Standard, Reading::Backslash] {
            let mut tokens = Tokens::new(text.as_bytes(), reading);
            tokens.by_ref().for_each(drop);
            assert_eq!(tokens.is_doubtful(), doubtful, "{text}");
        }
    }
}
