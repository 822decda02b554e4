//! `DateStyle` in a startup packet: a style and an order of day, month and year, each of which may be given alone. Given
//! several times they add up, where every other setting is what was said last (PostgreSQL manual, "DateStyle"). Pure.

/// Makes one DateStyle of several, in the place of the last one. Values that the server would not take stay as they are.
pub(super) fn add_up(settings: &mut Vec<(String, Vec<u8>)>) {
    let is_it = |setting: &(String, Vec<u8>)| setting.0.eq_ignore_ascii_case("datestyle");
    if settings.iter().filter(|setting| is_it(setting)).count() < 2 {
        return;
    }
    let mut all = Style::default();
    let values = settings.iter().filter(|setting| is_it(setting));
    let are_known = values.fold(true, |known, (_, value)| all.add(value) && known);
    if !are_known {
        // The server refuses the one that it does not know.
        return;
    }
    let last = settings.iter().rposition(is_it);
    if let Some(last) = last {
        settings[last].1 = all.text().into_bytes();
        let mut place = 0..settings.len();
        settings.retain(|setting| place.next() == Some(last) || !is_it(setting));
    }
}

#[derive(Default)]
struct Style {
    format: Option<&'static str>,
    order: Option<&'static str>,
}

impl Style {
    /// Adds one value; false when it is none.
    fn add(&mut self, value: &[u8]) -> bool {
        let text = String::from_utf8_lossy(value).to_ascii_lowercase();
        text.split(',').all(|word| self.add_word(word.trim()))
    }

    fn add_word(&mut self, word: &str) -> bool {
        match word {
            "iso" => self.format = Some("ISO"),
            "sql" => self.format = Some("SQL"),
            "german" => {
                self.format = Some("German");
                // It says in which order as well.
                self.order = Some("DMY");
            }
            word if word.starts_with("postgres") => self.format = Some("Postgres"),
            "ymd" => self.order = Some("YMD"),
            "dmy" => self.order = Some("DMY"),
            "mdy" | "us" => self.order = Some("MDY"),
            word if word.starts_with("euro") => self.order = Some("DMY"),
            word if word.starts_with("noneuro") => self.order = Some("MDY"),
            _ => return false,
        }
        true
    }

    fn text(&self) -> String {
        let parts: Vec<_> = self.format.into_iter().chain(self.order).collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(values: &[&str]) -> Vec<String> {
        let setting = |value: &&str| ("DateStyle".to_owned(), value.as_bytes().to_vec());
        let mut settings: Vec<_> = values.iter().map(setting).collect();
        settings.insert(0, ("work_mem".to_owned(), b"1MB".to_vec()));
        add_up(&mut settings);
        let texts = settings.into_iter().skip(1);
        texts
            .map(|(_, value)| String::from_utf8(value).unwrap())
            .collect()
    }

    #[test]
    fn style_and_order_add_up() {
        assert_eq!(added(&["ISO", "dmy"]), ["ISO, DMY"]);
        assert_eq!(added(&["German", "ISO"]), ["ISO, DMY"]);
        assert_eq!(added(&["SQL, European", "us"]), ["SQL, MDY"]);
        assert_eq!(added(&["ymd", "dmy", "Postgres"]), ["Postgres, DMY"]);
    }

    #[test]
    fn one_is_left_alone_and_so_is_what_is_not_known() {
        assert_eq!(added(&["whatever"]), ["whatever"]);
        assert_eq!(added(&["ISO", "default"]), ["ISO", "default"]);
        assert_eq!(added(&[]), Vec::<String>::new());
    }
}
