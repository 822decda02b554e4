//! The reactor against real sockets of the machine, with peers that are ordinary threads.

use std::{
    cell::Cell,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{Address, BufferSizes, Listener, Reactor, Received, Side, Stream, WakeHandle, task};
use crate::{limits::INBOUND_BUFFERS_MAX, time};

const SMALL: BufferSizes = BufferSizes {
    client: 64 * 4096,
    server: 16 * 16384,
};

/// Runs `test` as a task on a core of its own; afterwards nothing may be left over.
fn on_core<F: Future<Output = ()> + 'static>(
    sizes: BufferSizes,
    test: impl FnOnce(Reactor) -> F + Send + 'static,
) {
    let wake = WakeHandle::new().unwrap();
    glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(64 * 1024)
        .spawn(move || async move {
            let reactor = Reactor::new(sizes, wake).unwrap();
            let done = Rc::new(Cell::new(false));
            let (inner, ended) = (reactor.clone(), Rc::clone(&done));
            task::spawn(async move {
                test(inner.clone()).await;
                settled(&inner).await;
                ended.set(true);
            });
            reactor.run(|| done.get()).await.unwrap();
        })
        .unwrap()
        .join()
        .unwrap();
}

/// Waits until every slot is vacant and every buffer is back; hangs, and so fails, when one is lost.
async fn settled(reactor: &Reactor) {
    while reactor.sockets() > 0
        || reactor
            .free_buffers()
            .iter()
            .any(|(free, count)| free != count)
    {
        reactor.sleep(Duration::from_millis(1)).await;
    }
    // A close goes to the kernel at the end of the turn that asked for it.
    reactor.sleep(Duration::from_millis(1)).await;
}

/// A connected pair: ours, and the peer's ordinary one.
async fn pair(reactor: &Reactor, side: Side) -> (Stream, TcpStream) {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let incoming = reactor.accept_from(&listener);
    let peer = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let descriptor = incoming.next().await.unwrap().unwrap();
    (reactor.adopt(descriptor, side), peer)
}

async fn expect_bytes(stream: &Stream, expected: &[u8]) {
    let mut got = Vec::new();
    while got.len() < expected.len() {
        match stream.receive().await {
            Received::Bytes(chunk) => got.extend_from_slice(&chunk),
            other => panic!("{other:?} after {got:?}"),
        }
    }
    assert_eq!(got, expected);
}

/// Numbers that show any loss, doubling or swap.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8)
        .flat_map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes())
        .collect()
}

#[test]
fn echoes_what_was_received_from_the_same_buffer() {
    on_core(SMALL, |reactor| async move {
        let (stream, mut peer) = pair(&reactor, Side::Client).await;
        for round in 0..100_u8 {
            peer.write_all(&[round; 10]).unwrap();
            let Received::Bytes(chunk) = stream.receive().await else {
                panic!("bytes were sent")
            };
            assert!(chunk.is_lent());
            stream.send(chunk);
            stream.flushed().await;
            let mut answer = [0; 10];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [round; 10]);
        }
    });
}

#[test]
fn gathers_many_pieces_in_order() {
    on_core(SMALL, |reactor| async move {
        let (stream, mut peer) = pair(&reactor, Side::Client).await;
        let mut expected = Vec::new();
        for number in 0..100_u8 {
            stream.send(vec![number; 3].into());
            expected.extend([number; 3]);
        }
        stream.flushed().await;
        let mut got = vec![0; expected.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, expected);
    });
}

/// A pump from one peer to another with tiny kernel buffers: short sends everywhere, and no byte is lost.
#[test]
fn short_sends_lose_nothing() {
    on_core(SMALL, |reactor| async move {
        let (source, source_peer) = pair(&reactor, Side::Server).await;
        let (target, target_peer) = pair(&reactor, Side::Client).await;
        // SAFETY: the stream keeps the descriptor open.
        let ours = unsafe { std::os::fd::BorrowedFd::borrow_raw(target.socket().descriptor) };
        SockRef::from(&ours).set_send_buffer_size(8192).unwrap();
        let bytes = pattern(8 << 20);
        let expected = bytes.clone();
        let writer = thread::spawn(move || {
            let mut peer = source_peer;
            peer.write_all(&bytes).unwrap();
        });
        let reader = thread::spawn(move || {
            let mut peer = target_peer;
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        let mut congested = false;
        while let Received::Bytes(chunk) = source.receive().await {
            target.send(chunk);
            congested |= target.is_congested();
            std::future::poll_fn(|context| target.poll_drained(context, 64 * 1024)).await;
        }
        drop((source, target));
        settled(&reactor).await;
        writer.join().unwrap();
        assert!(reader.join().unwrap() == expected, "bytes arrived changed");
        assert!(congested, "the test did not make the kernel refuse a send");
    });
}

/// A peer that never reads holds no receive buffer of anybody else.
#[test]
fn unsent_bytes_do_not_keep_receive_buffers() {
    on_core(SMALL, |reactor| async move {
        let (target, mut peer) = pair(&reactor, Side::Client).await;
        let (source, mut source_peer) = pair(&reactor, Side::Client).await;
        let bytes = pattern(64 << 10);
        let mut sent = 0;
        while !target.is_congested() {
            source_peer.write_all(&bytes).unwrap();
            let mut left = bytes.len();
            while left > 0 {
                let Received::Bytes(chunk) = source.receive().await else {
                    panic!("bytes were sent")
                };
                left -= chunk.len();
                sent += chunk.len();
                target.send(chunk);
                task::yield_now().await;
            }
        }
        assert!(target.unsent() > 0);
        while reactor.free_buffers()[0].0 < reactor.free_buffers()[0].1 {
            task::yield_now().await;
        }
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        target.flushed().await;
        drop(target);
        while !reader.is_finished() {
            reactor.sleep(Duration::from_millis(1)).await;
        }
        let got = reader.join().unwrap();
        assert_eq!(got.len(), sent);
        assert!(got.chunks(bytes.len()).all(|block| block == bytes));
    });
}

#[test]
fn many_sockets_share_few_buffers() {
    on_core(
        BufferSizes {
            client: 16 * 4096,
            server: 16 * 16384,
        },
        |reactor| async move {
            let mut pairs = Vec::new();
            for _ in 0..40 {
                pairs.push(pair(&reactor, Side::Client).await);
            }
            for (_, peer) in &mut pairs {
                peer.write_all(&pattern(16 << 10)).unwrap();
            }
            // Every buffer is taken by now or soon; each socket still gets all of its bytes.
            let left = Rc::new(Cell::new(pairs.len()));
            for (stream, peer) in pairs {
                let left = Rc::clone(&left);
                task::spawn(async move {
                    expect_bytes(&stream, &pattern(16 << 10)).await;
                    left.set(left.get() - 1);
                    drop(peer);
                });
            }
            while left.get() > 0 {
                reactor.sleep(Duration::from_millis(1)).await;
            }
        },
    );
}

#[test]
fn an_owner_that_does_not_look_takes_a_bounded_number_of_buffers() {
    on_core(SMALL, |reactor| async move {
        let (stream, mut peer) = pair(&reactor, Side::Client).await;
        peer.set_nonblocking(true).unwrap();
        let block = pattern(4096);
        let mut written = 0;
        while stream.socket().inbound.chunks.borrow().len() < INBOUND_BUFFERS_MAX {
            written += peer.write(&block).unwrap_or(0);
            reactor.sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..10 {
            written += peer.write(&pattern(1 << 20)).unwrap_or(0);
            reactor.sleep(Duration::from_millis(1)).await;
        }
        // A receive that was stopped may bring what the kernel had begun.
        let (free, count) = reactor.free_buffers()[0];
        assert!(free > 0, "one socket took all {count} buffers");
        let mut got = 0;
        while got < written {
            let Received::Bytes(chunk) = stream.receive().await else {
                panic!("bytes were sent")
            };
            got += chunk.len();
        }
        assert_eq!(got, written);
    });
}

#[test]
fn pause_stops_and_resume_goes_on() {
    on_core(SMALL, |reactor| async move {
        let (stream, mut peer) = pair(&reactor, Side::Client).await;
        stream.pause();
        // The kernel hears of it at the next turn.
        reactor.sleep(Duration::from_millis(1)).await;
        peer.write_all(b"later").unwrap();
        assert!(
            reactor
                .deadline(time::now() + Duration::from_millis(20), stream.receive())
                .await
                .is_err()
        );
        stream.resume();
        expect_bytes(&stream, b"later").await;
    });
}

#[test]
fn tells_end_of_stream_from_reset() {
    on_core(SMALL, |reactor| async move {
        let (stream, peer) = pair(&reactor, Side::Client).await;
        drop(peer);
        assert!(matches!(stream.receive().await, Received::End));
        let (stream, peer) = pair(&reactor, Side::Client).await;
        SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        assert!(matches!(stream.receive().await, Received::Broken(_)));
        let (stream, peer) = pair(&reactor, Side::Client).await;
        SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        stream.send(b"nobody reads this".as_slice().into());
        assert!(matches!(stream.receive().await, Received::Broken(_)));
    });
}

#[test]
fn a_dropped_stream_still_sends_its_last_bytes() {
    on_core(SMALL, |reactor| async move {
        let (stream, mut peer) = pair(&reactor, Side::Client).await;
        stream.send(pattern(1 << 20).into());
        drop(stream);
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        settled(&reactor).await;
        assert!(reader.join().unwrap() == pattern(1 << 20));
    });
}

#[test]
fn connects_and_says_when_it_cannot() {
    on_core(SMALL, |reactor| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = reactor.connect(&Address::Tcp(address)).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"hello").unwrap();
        expect_bytes(&stream, b"hello").await;
        drop((stream, peer, listener));
        let refused = reactor.connect(&Address::Tcp(address)).await.err().unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
        let folder = tempfile::tempdir().unwrap();
        let absent = reactor
            .connect(&Address::Unix(folder.path().join("absent")))
            .await
            .err()
            .unwrap();
        assert_eq!(absent.raw_os_error(), Some(libc::ENOENT));
        let path = folder.path().join("socket");
        let unix = Listener::unix(&path, 4).unwrap();
        let incoming = reactor.accept_from(&unix);
        let ours = reactor.connect(&Address::Unix(path)).await.unwrap();
        let theirs = reactor.adopt(incoming.next().await.unwrap().unwrap(), Side::Client);
        ours.send(b"local".as_slice().into());
        expect_bytes(&theirs, b"local").await;
    });
}

/// A connect that hangs (a full accept queue) is given up by dropping it, and its slot comes back.
#[test]
fn a_dropped_connect_is_cancelled() {
    on_core(SMALL, |reactor| async move {
        let full = Listener::tcp("127.0.0.1:0".parse().unwrap(), 0).unwrap();
        let address = Address::Tcp(full.local_address().unwrap());
        let mut connected = Vec::new();
        let mut given_up = false;
        while !given_up && connected.len() < 64 {
            match reactor
                .deadline(
                    time::now() + Duration::from_millis(50),
                    reactor.connect(&address),
                )
                .await
            {
                Ok(stream) => connected.push(stream.unwrap()),
                Err(_) => given_up = true,
            }
        }
        assert!(given_up, "the accept queue never filled up");
    });
}

#[test]
fn timers_come_in_order_and_can_be_dropped() {
    on_core(SMALL, |reactor| async move {
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let start = time::now();
        for milliseconds in [30, 10, 20] {
            let (sleep, order) = (
                reactor.sleep_until(start + Duration::from_millis(milliseconds)),
                Rc::clone(&order),
            );
            task::spawn(async move {
                sleep.await;
                order.borrow_mut().push(milliseconds);
            });
        }
        drop(reactor.sleep_until(start + Duration::from_secs(3600)));
        reactor.sleep_until(start + Duration::from_millis(40)).await;
        assert_eq!(*order.borrow(), [10, 20, 30]);
        assert_eq!(reactor.core.timers.first(), None);
    });
}

#[test]
fn other_threads_wake_the_core() {
    let wake = WakeHandle::new().unwrap();
    let handle = wake.clone();
    glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(64 * 1024)
        .spawn(move || async move {
            let reactor = Reactor::new(SMALL, wake).unwrap();
            let done = Rc::new(Cell::new(false));
            let (inner, ended) = (reactor.clone(), Rc::clone(&done));
            task::spawn(async move {
                for _ in 0..3 {
                    let handle = handle.clone();
                    let thread = thread::spawn(move || handle.wake());
                    inner.woken().await;
                    thread.join().unwrap();
                }
                ended.set(true);
            });
            reactor.run(|| done.get()).await.unwrap();
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_slot_is_used_again_under_another_generation() {
    on_core(SMALL, |reactor| async move {
        let (first, peer) = pair(&reactor, Side::Client).await;
        let old = first.id();
        drop((first, peer));
        settled(&reactor).await;
        let (second, _peer) = pair(&reactor, Side::Client).await;
        assert_eq!(second.id().slot, old.slot);
        assert_ne!(second.id().generation, old.generation);
    });
}

#[test]
fn a_unix_socket_in_use_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let first = Listener::unix(&path, 4).unwrap();
    assert_eq!(
        Listener::unix(&path, 4).unwrap_err().kind(),
        std::io::ErrorKind::AddrInUse
    );
    drop(first);
    Listener::unix(&path, 4).unwrap();
}

#[test]
fn listeners_share_one_port() {
    let first = Listener::tcp("127.0.0.1:0".parse().unwrap(), 4).unwrap();
    let address: SocketAddr = first.local_address().unwrap();
    Listener::tcp(address, 4).unwrap();
}

/// Out of descriptors: accepting rests, says so, and goes on once there is room.
#[test]
fn accepting_survives_a_lack_of_descriptors() {
    on_core(SMALL, |reactor| async move {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = listener.local_address().unwrap();
        let incoming = reactor.accept_from(&listener);
        let mut peer = TcpStream::connect(address).unwrap();
        // The accept goes to the kernel at the next turn, when there is nothing left to accept with.
        let hoard = take_all_descriptors();
        let error = incoming.next().await.unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        drop(hoard);
        let descriptor = incoming.next().await.unwrap().unwrap();
        let stream = reactor.adopt(descriptor, Side::Client);
        peer.write_all(b"still here").unwrap();
        expect_bytes(&stream, b"still here").await;
    });
}

/// Opens files until no descriptor is left.
fn take_all_descriptors() -> Vec<std::fs::File> {
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    hoard
}

#[test]
fn a_detached_connection_goes_on_elsewhere() {
    on_core(SMALL, |reactor| async move {
        let (mut stream, mut peer) = pair(&reactor, Side::Server).await;
        for round in 0..100_u8 {
            let descriptor = stream.detach().await.expect("nothing was on its way");
            // What comes while nobody has it waits in the kernel.
            peer.write_all(&[round; 10]).unwrap();
            stream = reactor.adopt(descriptor, Side::Server);
            expect_bytes(&stream, &[round; 10]).await;
            stream.send(vec![round].into());
            stream.flushed().await;
            peer.read_exact(&mut [0]).unwrap();
        }
        drop(stream);
        expect_close(&reactor, &mut peer).await;
    });
}

/// The peer sees an end or a reset. It must not block the core that is to bring it.
async fn expect_close(reactor: &Reactor, peer: &mut TcpStream) {
    peer.set_nonblocking(true).unwrap();
    while let Err(error) = peer.read(&mut [0]) {
        if error.kind() == std::io::ErrorKind::ConnectionReset {
            return;
        }
        reactor.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_connection_with_news_is_not_detached() {
    on_core(SMALL, |reactor| async move {
        let (stream, mut peer) = pair(&reactor, Side::Server).await;
        peer.write_all(b"news").unwrap();
        while !stream.has_news() {
            reactor.sleep(Duration::from_millis(1)).await;
        }
        assert!(stream.detach().await.is_none());
        expect_close(&reactor, &mut peer).await;
    });
}
