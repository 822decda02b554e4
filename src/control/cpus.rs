//! Which CPU each worker is bound to. Reads what the kernel allows this process.

use crate::cluster::settings::Runtime;

/// One CPU for each worker, none when workers float. More workers than CPUs share them in turn.
pub(super) fn for_workers(runtime: &Runtime) -> Vec<usize> {
    if !runtime.pin {
        return vec![];
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let allowed = list.map(read_list).unwrap_or_default();
    allowed
        .iter()
        .cycle()
        .take(usize::from(runtime.workers))
        .copied()
        .collect()
}

/// `0-3,8` as numbers.
fn read_list(list: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_of_the_kernel() {
        assert_eq!(read_list("\t0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(read_list("5"), [5]);
        assert!(read_list("").is_empty());
    }
}
