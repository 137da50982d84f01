use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use super::*;

fn outbox(bytes_max: usize, frames_max: usize) -> (Outbox, Outlet, Counter) {
    let overflows = Counter::default();
    let (outbox, outlet) = channel(Arc::new(Limit { bytes_max, frames_max, overflows: overflows.clone() }));
    (outbox, outlet, overflows)
}

/// What leaves at once, and whether more waits or none will follow.
fn take(outlet: &mut Outlet, bytes_max: usize) -> (Vec<Bytes>, Poll<Result<(), Closed>>) {
    let (frames, taken) = outlet.poll_take(&mut Context::from_waker(Waker::noop()), bytes_max);
    (frames.into(), taken)
}

#[test]
fn frames_leave_in_push_order_in_batches_of_bounded_size() {
    let (outbox, mut outlet, _) = outbox(1_000, 1_000);
    let frames: Vec<Bytes> = (0..100u8).map(|i| Bytes::from(vec![i; 10])).collect();
    for frame in &frames {
        outbox.push(frame.clone()).unwrap();
    }
    let mut left = Vec::new();
    loop {
        let (batch, taken) = take(&mut outlet, 64);
        assert!(batch.len() <= 7);
        left.extend(batch);
        if taken.is_pending() {
            break;
        }
    }
    assert_eq!(left, frames);
    assert_eq!(take(&mut outlet, 64), (Vec::new(), Poll::Pending));
}

#[test]
fn what_waits_never_exceeds_the_bytes_and_overflow_closes_as_slow_consumer() {
    let (outbox, mut outlet, overflows) = outbox(100, 1_000);
    for _ in 0..10 {
        outbox.push(Bytes::from_static(b"0123456789")).unwrap();
        assert!(outbox.0.state.lock().bytes <= 100);
    }
    assert_eq!(overflows.get(), 0);
    assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Closed::SlowConsumer));
    assert_eq!(take(&mut outlet, 64), (Vec::new(), Poll::Ready(Err(Closed::SlowConsumer))));
    assert_eq!(outbox.push(Bytes::from_static(b"y")), Err(Closed::SlowConsumer));
    assert_eq!((overflows.get(), outbox.0.state.lock().bytes), (1, 0));
}

#[test]
fn what_waits_never_exceeds_the_frames_however_small_they_are() {
    let (outbox, mut outlet, _) = outbox(100, 3);
    for _ in 0..3 {
        outbox.push(Bytes::new()).unwrap();
    }
    assert_eq!(outbox.push(Bytes::new()), Err(Closed::SlowConsumer));
    assert_eq!(take(&mut outlet, 64), (Vec::new(), Poll::Ready(Err(Closed::SlowConsumer))));
}

#[test]
fn what_has_left_makes_room() {
    let (outbox, mut outlet, overflows) = outbox(10, 10);
    for _ in 0..1_000 {
        outbox.push(Bytes::from_static(b"0123456789")).unwrap();
        assert_eq!(take(&mut outlet, 64), (vec![Bytes::from_static(b"0123456789")], Poll::Pending));
    }
    assert_eq!(overflows.get(), 0);
}

#[test]
fn closing_lets_what_waits_leave_first_and_cutting_does_not() {
    let (outbox, mut outlet, _) = outbox(100, 10);
    outbox.push(Bytes::from_static(b"first")).unwrap();
    outbox.close(Closed::SessionEnded);
    outbox.close(Closed::Draining(Duration::ZERO));
    assert_eq!(outbox.push(Bytes::from_static(b"late")), Err(Closed::SessionEnded));
    assert_eq!(take(&mut outlet, 64), (vec![Bytes::from_static(b"first")], Poll::Ready(Err(Closed::SessionEnded))));

    let (outbox, mut outlet, _) = self::outbox(100, 10);
    outbox.push(Bytes::from_static(b"first")).unwrap();
    outbox.close(Closed::Cut);
    assert_eq!(take(&mut outlet, 64), (Vec::new(), Poll::Ready(Err(Closed::Cut))));
}

#[tokio::test]
async fn a_push_and_a_close_wake_the_socket_task() {
    let (outbox, mut outlet, _) = outbox(100, 10);
    let task = tokio::spawn(async move {
        let mut left = Vec::new();
        let closed = poll_fn(|context| {
            let (frames, taken) = outlet.poll_take(context, 64);
            left.extend(frames);
            taken
        });
        let closed = closed.await;
        (left, closed)
    });
    tokio::task::yield_now().await;
    outbox.push(Bytes::from_static(b"one")).unwrap();
    tokio::task::yield_now().await;
    outbox.close(Closed::SessionEnded);
    assert_eq!(task.await.unwrap(), (vec![Bytes::from_static(b"one")], Err(Closed::SessionEnded)));
}

#[test]
fn a_socket_task_is_woken_once_for_many_pushes() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (outbox, mut outlet, _) = outbox(1_000, 1_000);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    assert!(outlet.poll_take(&mut Context::from_waker(&waker), 64).1.is_pending());
    for _ in 0..100 {
        outbox.push(Bytes::from_static(b"x")).unwrap();
    }
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}
