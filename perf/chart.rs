//! Owns the picture in the README: horizontal bars in hand-written SVG, on a card of its own colour so that it can be read
//! on a light page and on a dark one. (pure)

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) color: &'static str,
}

const WIDTH: usize = 760;
const LABEL_RIGHT: usize = 150;
const BAR_LEFT: usize = 164;
const BAR_ROOM: f64 = 480.0;
const BAR_HEIGHT: usize = 30;
const BAR_PITCH: usize = 46;
const TOP: usize = 66;
const BOTTOM: usize = 46;

/// Draws the bars under a title and above a caption.
pub(crate) fn bars(title: &str, caption: &str, bars: &[Bar]) -> String {
    let height = TOP + bars.len() * BAR_PITCH + BOTTOM;
    let largest = bars.iter().map(|bar| bar.value).fold(1.0, f64::max);
    let drawn: String = bars
        .iter()
        .enumerate()
        .map(|(row, bar)| draw(row, bar, largest))
        .collect();
    let below = height - 20;
    let (title, caption) = (escaped(title), escaped(caption));
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"
     role="img" aria-label="{title}"
     font-family="-apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif">
<rect x="0.5" y="0.5" width="{}" height="{}" rx="8" fill="#ffffff" stroke="#d0d7de"/>
<text x="24" y="38" font-size="18" font-weight="600" fill="#1f2328">{title}</text>
{drawn}<text x="24" y="{below}" font-size="12" fill="#59636e">{caption}</text>
</svg>
"##,
        WIDTH - 1,
        height - 1,
    )
}

fn draw(row: usize, bar: &Bar, largest: f64) -> String {
    let top = TOP + row * BAR_PITCH;
    let width = (bar.value / largest * BAR_ROOM).max(1.0);
    let baseline = top + BAR_HEIGHT / 2 + 5;
    let (label, color) = (escaped(&bar.label), bar.color);
    let value_left = BAR_LEFT as f64 + width + 10.0;
    let value = thousands(bar.value);
    format!(
        r##"<text x="{LABEL_RIGHT}" y="{baseline}" font-size="14" text-anchor="end" fill="#1f2328">{label}</text>
<rect x="{BAR_LEFT}" y="{top}" width="{width:.1}" height="{BAR_HEIGHT}" rx="3" fill="{color}"/>
<text x="{value_left:.1}" y="{baseline}" font-size="14" font-weight="600" fill="#1f2328">{value}</text>
"##
    )
}

/// A whole number with separators: 114,000.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
