//! Owns what the suite asks the kernel about processes and the machine: CPU clocks, memory, trees, CPU model; and the two
//! things a process does to itself at start: a CPU and enough descriptors. It measures, it never judges.
#![allow(
    unsafe_code,
    reason = "clock, affinity and limit calls of libc; every block states its contract"
)]

use std::{fs, io};

/// Places the process when asked and raises its descriptor limit.
pub(crate) fn prepare(cpu: Option<usize>) -> io::Result<()> {
    raise_descriptor_limit()?;
    cpu.map_or(Ok(()), |cpu| place(Some(cpu)))
}

/// Runs the calling thread, and what it starts, on one CPU only, or on all of them. Makes system calls only, so that it
/// may run between fork and exec.
pub(crate) fn place(cpu: Option<usize>) -> io::Result<()> {
    // SAFETY: the set is plain bits, zeroed; the call reads `size_of` of it.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let wanted = cpu.map_or(0..libc::CPU_SETSIZE as usize, |cpu| cpu..cpu + 1);
        wanted.for_each(|cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    checked(result)
}

/// Raises the soft limit of open descriptors to the hard one.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        checked(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        checked(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))
    }
}

/// Makes the kernel kill the calling process when the thread that started it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: no pointers are passed.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// Sends `signal` to a child of this process.
pub(crate) fn signal(child: u32, signal: i32) {
    // SAFETY: no pointers; the caller has not waited for the child yet, so the number is still its own.
    unsafe { libc::kill(child as i32, signal) };
}

/// Sends `signal` to the process group that `leader` leads.
pub(crate) fn signal_group(leader: u32, signal: i32) {
    // SAFETY: no pointers; the group was created by this process for its own child.
    unsafe { libc::kill(-(leader as i32), signal) };
}

/// Nanoseconds of CPU (user and system) the processes have used, threads and ended threads included.
pub(crate) fn cpu_ns(processes: &[u32]) -> u64 {
    processes
        .iter()
        .map(|process| process_cpu_ns(*process))
        .sum()
}

fn process_cpu_ns(process: u32) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut clock = 0;
    // SAFETY: both pointers are to locals that outlive the calls.
    unsafe {
        if libc::clock_getcpuclockid(process as i32, &mut clock) != 0
            || libc::clock_gettime(clock, &mut time) != 0
        {
            return 0;
        }
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The process and all its descendants.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = processes()
        .filter_map(|process| Some((process, parent_of(process)?)))
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(process, _)| *process),
        );
        at += 1;
    }
    found
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold spaces; the state and the parent follow its last parenthesis.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Resident memory in KiB: what the process maps, and its share of it when pages are shared with others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
}

/// Memory of the processes together.
pub(crate) fn memory(processes: &[u32]) -> Memory {
    let sum = |field: &str| {
        processes
            .iter()
            .map(|process| rollup_kib(*process, field))
            .sum()
    };
    Memory {
        rss_kib: sum("Rss:"),
        pss_kib: sum("Pss:"),
    }
}

fn rollup_kib(process: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// Clock ticks (user and system) as `/proc` counts them, for "no CPU at all".
pub(crate) fn ticks(processes: &[u32]) -> u64 {
    let of = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    processes.iter().filter_map(of).sum()
}

/// The CPU's name as the kernel knows it.
pub(crate) fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": "))
        .map_or_else(|| "unknown".into(), |(_, name)| name.trim().into())
}

/// CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// CPUs that the kernel has, whatever this process may use.
pub(crate) fn cpus_of_machine() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("processor"))
        .count()
}

/// Memory of the machine in MiB.
pub(crate) fn machine_memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemTotal:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn checked(result: i32) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
