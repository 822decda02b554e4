//! The picture keeps proportions and survives hostile labels.

use crate::chart::*;

fn two() -> Vec<Bar> {
    let bar = |label: &str, value, color| Bar {
        label: label.into(),
        value,
        color,
    };
    vec![
        bar("a & b", 100_000.0, "#111111"),
        bar("c", 25_000.0, "#222222"),
    ]
}

#[test]
fn the_longest_bar_fills_the_room_and_others_follow_in_proportion() {
    let picture = bars("t", "c", &two());
    assert!(picture.contains(r#"width="480.0""#), "{picture}");
    assert!(picture.contains(r#"width="120.0""#), "{picture}");
    assert!(picture.contains("100,000") && picture.contains("25,000"));
}

#[test]
fn labels_cannot_break_the_picture() {
    let picture = bars("<t>", "\"c\"", &two());
    assert!(
        picture.contains("a &amp; b")
            && picture.contains("&lt;t&gt;")
            && picture.contains("&quot;c&quot;")
    );
    assert_eq!(picture.matches('<').count(), picture.matches('>').count());
}

#[test]
fn an_empty_chart_is_still_a_picture() {
    assert!(bars("t", "c", &[]).ends_with("</svg>\n"));
}

#[test]
fn numbers_are_grouped() {
    assert_eq!(
        ["0", "999", "1,000", "1,234,568"],
        [0.0, 999.0, 1000.0, 1_234_567.8]
            .map(thousands)
            .map(|t| t)
            .as_slice()
    );
}
