//! COPY of 200 MB each way: the same bytes, in bounded memory, while others are served.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use sha2::{Digest, Sha256};

use crate::stage::Stage;

/// Rows of 100 bytes, more or less.
const ROWS: usize = 2_000_000;

/// Bytes of the rows, at least.
const BYTES_MIN: u64 = 200_000_000;

/// How much pgring may grow meanwhile, in KiB: its receive buffers, and what waits at most for slow peers.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

fn psql(mut program: Command, copy: &str) -> Command {
    program.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", copy]);
    program
}

/// Runs a COPY TO STDOUT; hash and number of its bytes, which are also given to `sink`.
fn copy_out(program: Command, copy: &str, mut sink: impl Write) -> (String, u64) {
    let mut child = psql(program, copy).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = stdout.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
        sink.write_all(&buffer[..count]).unwrap();
    }
    drop(sink);
    assert!(child.wait().unwrap().success());
    (format!("{:x}", hash.finalize()), bytes)
}

/// Runs a small client, and watches pgring's memory, while `work` runs.
fn meanwhile<T: Send>(stage: &Stage, work: impl FnOnce() -> T + Send) -> T {
    let before = stage.proxy.memory_kib();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let outcome = work();
            done.store(true, Ordering::Relaxed);
            outcome
        });
        let mut client = stage.proxy.client();
        let (mut answers, mut most) = (0, 0);
        while !done.load(Ordering::Relaxed) && !worker.is_finished() {
            assert_eq!(
                client.rows(&format!("SELECT {answers}")),
                [answers.to_string()]
            );
            answers += 1;
            most = most.max(stage.proxy.memory_kib());
        }
        assert!(answers >= 10, "the small client got {answers} answers");
        assert!(
            most < before + GROWTH_KIB_MAX,
            "{before} KiB grew to {most} KiB"
        );
        worker.join().unwrap()
    })
}

mod alone {
    use super::*;

    #[test]
    fn the_same_bytes_arrive() {
        let stage = Stage::trusting(|config| config);
        stage.sql("CREATE UNLOGGED TABLE big (n int, a text, b text); GRANT ALL ON big TO app");
        let rows = format!(
            "COPY (SELECT n, md5(n::text), repeat(chr(97 + n % 26), 60) FROM generate_series(1, {ROWS}) n) TO STDOUT"
        );
        let mut sink = psql(stage.proxy.tool("psql"), "COPY big FROM STDIN");
        let mut sink = sink.stdin(Stdio::piped()).spawn().unwrap();
        let stdin = sink.stdin.take().unwrap();
        // Straight out of the server, in through pgring ...
        let (sent, bytes) = meanwhile(&stage, || {
            let sent = copy_out(stage.direct("psql"), &rows, stdin);
            assert!(sink.wait().unwrap().success());
            sent
        });
        assert!(bytes >= BYTES_MIN, "{bytes} bytes");
        // ... and out again, both ways.
        let table = "COPY big TO STDOUT";
        let through = meanwhile(&stage, || {
            copy_out(stage.proxy.tool("psql"), table, std::io::sink())
        });
        assert_eq!(through, (sent, bytes));
        assert_eq!(
            copy_out(stage.direct("psql"), table, std::io::sink()),
            through
        );
    }
}
