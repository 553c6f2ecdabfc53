//! Three servers start at once on a busy machine, and their pools form.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::datacenter::Datacenter;
use crate::rounds_of;

/// Threads that keep the machine busy until this is dropped.
struct BusyLoops {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyLoops {
    fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let run = |_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..threads).map(run).collect();
        BusyLoops { stop, threads }
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has only counted.
            let _ = thread.join();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_form_on_a_busy_machine() {
    let rounds = rounds_of("START_ROUNDS", 1);
    let _busy = BusyLoops::start(3);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let begin = Instant::now();
        // Other addresses in each round, in which nobody sends to those of the last one. The
        // other tests have the networks below.
        let datacenter = Datacenter::launch(110 + (round % 140) as u8, 3);
        datacenter.complete_rings().await;
        let formed = begin.elapsed();
        println!("start {round}: the pools formed after {formed:?}");
        slowest = slowest.max(formed);
    }
    println!("{rounds} starts, the slowest in {slowest:?}");
}
