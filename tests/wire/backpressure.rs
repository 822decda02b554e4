//! Peers that stop reading: a bounded number of bytes waits for them, and nobody else notices.

use super::bystander::{Stage, send_until_stalled};
use crate::support::{eventually, message::*};
use pgring::protocol::tag::backend::READY_FOR_QUERY;

const MIB: usize = 1 << 20;

/// Far above what the kernel's buffers of two connections and pgring's high-water mark hold.
const FLOOD: usize = 256 * MIB;

/// Bytes that may be under way: both kernels' buffers (6 MiB to receive, 4 MiB to send, twice) and our own.
const UNDER_WAY_MAX: usize = 40 * MIB;

/// KiB that pgring may need for one stalled conversation.
const MEMORY_KIB_MAX: u64 = 8 * 1024;

#[test]
fn a_client_that_never_reads_costs_little() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let mut client = stage.client();
    client.send(query("SELECT * FROM big"));
    let mut backend = stage.server.expect(query("SELECT * FROM big"));
    backend.answer(columns(&["value"]));
    let rows = row(&[&"x".repeat(1000)]).repeat(64);
    let before = stage.proxy.memory_kib();
    let sent = send_until_stalled(&backend, &rows, FLOOD);
    assert!(sent < UNDER_WAY_MAX, "{sent} bytes were taken");
    assert!(stage.proxy.memory_kib() < before + MEMORY_KIB_MAX);
    for _ in 0..20 {
        bystander.works_on();
    }
    // It reads after all: everything is there, in order.
    let rest = rows.len() - sent % rows.len();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            backend.answer(&rows[rows.len() - rest..]);
            backend.answer(all([command_complete("SELECT 0"), ready()]));
        });
        let answer = client.receive_until(READY_FOR_QUERY);
        assert_eq!(
            answer.len(),
            3 + (sent + rest) / row(&[&"x".repeat(1000)]).len()
        );
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_flood_takes_its_server_connection_along() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let descriptors = stage.proxy.descriptors();
    let mut client = stage.client();
    client.send(query("SELECT * FROM big"));
    let mut backend = stage.server.expect(query("SELECT * FROM big"));
    backend.answer(columns(&["value"]));
    send_until_stalled(&backend, &row(&[&"x".repeat(1000)]), FLOOD);
    client.reset();
    backend.expect_end();
    stage.proxy.wait_for_descriptors(descriptors);
    bystander.works_on();
}

#[test]
fn a_server_that_never_reads_costs_little() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let mut client = stage.client();
    client.send(query("COPY t FROM STDIN"));
    let mut backend = stage.server.expect(query("COPY t FROM STDIN"));
    backend.answer(copy_in());
    client.expect("G");
    let data = copy_data(&[b'x'; 1019]).repeat(64);
    let before = stage.proxy.memory_kib();
    let sent = send_until_stalled(&client, &data, FLOOD);
    assert!(sent < UNDER_WAY_MAX, "{sent} bytes were taken");
    assert!(stage.proxy.memory_kib() < before + MEMORY_KIB_MAX);
    for _ in 0..20 {
        bystander.works_on();
    }
    let rest = data.len() - sent % data.len();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.send(&data[data.len() - rest..]);
            client.send(copy_done());
        });
        for _ in 0..(sent + rest) / 1024 {
            backend.expect_message(copy_data(&[b'x'; 1019]));
        }
        backend.expect_message(copy_done());
    });
    backend.answer(all([command_complete("COPY 1"), ready()]));
    client.expect("C Z");
}

#[test]
fn a_client_that_leaves_a_stalled_server_is_let_go() {
    let stage = Stage::set();
    let mut bystander = stage.bystander();
    let mut client = stage.client();
    client.send(query("COPY t FROM STDIN"));
    let mut backend = stage.server.expect(query("COPY t FROM STDIN"));
    backend.answer(copy_in());
    client.expect("G");
    send_until_stalled(&client, &copy_data(&[b'x'; 1019]), FLOOD);
    client.reset();
    eventually("the server saw the end", || {
        use std::io::Read;
        let mut buffer = [0; 64 * 1024];
        loop {
            match backend.stream().read(&mut buffer) {
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
        }
    });
    bystander.works_on();
}
