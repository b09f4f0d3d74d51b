//! One call at a time for each volume, and none that ends because its client has gone.
//!
//! Work runs on a thread of its own, whoever still waits for it. A client that comes back with the very same call while that is under
//! way gets its result; one with another call for the same volume waits its turn, but not for ever (CSI, "Concurrency": `ABORTED`).

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prost::Message;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};
use tonic::Status;

use crate::status::{self, Rpc};

/// So long a call waits for another one of its volume.
const TURN: Duration = Duration::from_secs(30);

/// The gate of one driver.
#[derive(Clone)]
pub(super) struct Gate {
    open: Arc<Mutex<HashMap<String, Running>>>,
    room: Arc<Semaphore>,
    /// For what only looks.
    aside: Arc<Semaphore>,
    turn: Duration,
}

/// What a call is: the same again has the same name and the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    rpc: Rpc,
    digest: [u8; 32],
}

#[derive(Clone)]
struct Running {
    call: Call,
    end: watch::Receiver<Option<Came>>,
}

type Came = Result<Arc<dyn Any + Send + Sync>, Status>;

impl Call {
    /// The call of that name with that request.
    pub(super) fn of(rpc: Rpc, request: &impl Message) -> Self {
        Self { rpc, digest: Sha256::digest(request.encode_to_vec()).into() }
    }
}

/// Ends what is under way whatever becomes of the work, a panic among it.
struct Ending {
    gate: Gate,
    key: String,
    end: watch::Sender<Option<Came>>,
    came: Option<Came>,
}

impl Ending {
    fn with(mut self, came: Came) {
        self.came = Some(came);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // In this order: who hears of the end finds the volume free.
        self.gate.lock().remove(&self.key);
        let lost = || Err(status::unavailable("the call ended without an answer; see the log"));
        self.end.send_replace(Some(self.came.take().unwrap_or_else(lost)));
    }
}

impl Gate {
    /// A gate that lets so many calls work at once, and beside them as many that only look.
    pub(super) fn new(at_once: usize) -> Self {
        let room = || Arc::new(Semaphore::new(at_once));
        Self { open: Arc::default(), room: room(), aside: room(), turn: TURN }
    }

    /// Does `work`, when nothing else is done for `key`; or joins the same call that is under way.
    ///
    /// # Errors
    /// What the work says; `ABORTED` if another call keeps the volume for too long.
    pub(super) async fn pass<T, W>(&self, key: &str, call: Call, work: W) -> Result<T, Status>
    where
        T: Clone + Send + Sync + 'static,
        W: FnOnce() -> Result<T, Status> + Send + 'static,
    {
        let until = Instant::now() + self.turn;
        let running = loop {
            let running = match self.enter(key, call) {
                Entered::Begun(ending) => {
                    let running = ending.end.subscribe();
                    begin(Some(Arc::clone(&self.room)), ending, work);
                    break running;
                }
                Entered::Under(running) => running,
            };
            if running.call == call {
                break running.end;
            }
            let other = running.call.rpc;
            let mut end = running.end;
            // An error is an end, too.
            if timeout_at(until, end.wait_for(Option::is_some)).await.is_err() {
                return Err(status::pending(format!("{other:?} of this volume is still under way; call again")));
            }
        };
        result(running).await
    }

    /// Does `work`, which changes nothing, beside whatever else is done; or joins the same look that is under way.
    ///
    /// # Errors
    /// What the work says.
    pub(super) async fn look<T, W>(&self, call: Call, work: W) -> Result<T, Status>
    where
        T: Clone + Send + Sync + 'static,
        W: FnOnce() -> Result<T, Status> + Send + 'static,
    {
        // Calls about the plugin have one name and nothing to ask by: what they answer with tells them apart.
        let key = format!("look {:?} {:x?} {}", call.rpc, call.digest, std::any::type_name::<T>());
        let running = match self.enter(&key, call) {
            Entered::Begun(ending) => {
                let running = ending.end.subscribe();
                // Whether a driver is ready is told while all of its calls hang; there are but a few such questions.
                begin((call.rpc != Rpc::About).then(|| Arc::clone(&self.aside)), ending, work);
                running
            }
            Entered::Under(running) => running.end,
        };
        result(running).await
    }

    fn enter(&self, key: &str, call: Call) -> Entered {
        let mut open = self.lock();
        match open.get(key) {
            Some(running) => Entered::Under(running.clone()),
            None => {
                let (end, receiver) = watch::channel(None);
                open.insert(key.to_owned(), Running { call, end: receiver });
                Entered::Begun(Ending { gate: self.clone(), key: key.to_owned(), end, came: None })
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        // Nothing is done under the lock that could leave the map half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From here on nothing stops it.
fn begin<T, W>(room: Option<Arc<Semaphore>>, ending: Ending, work: W)
where
    T: Send + Sync + 'static,
    W: FnOnce() -> Result<T, Status> + Send + 'static,
{
    tokio::spawn(async move {
        let permit = match room.map(Semaphore::acquire_owned) {
            Some(permit) => permit.await.ok(),
            None => None,
        };
        let _ = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let came = work().map(|done| Arc::new(done) as Arc<dyn Any + Send + Sync>);
            ending.with(came);
        })
        .await;
    });
}

enum Entered {
    Begun(Ending),
    Under(Running),
}

async fn result<T: Clone + 'static>(mut end: watch::Receiver<Option<Came>>) -> Result<T, Status> {
    let lost = || status::unavailable("the call's answer is lost; call again");
    let came = end.wait_for(Option::is_some).await.map_err(|_| lost())?.clone();
    came.ok_or_else(lost)??.downcast_ref::<T>().cloned().ok_or_else(lost)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    fn call(rpc: Rpc, request: &str) -> Call {
        Call::of(rpc, &request.to_owned())
    }

    /// A gate, and work that waits until it is let go; how many have begun.
    fn held() -> (Gate, Arc<AtomicUsize>, mpsc::Sender<()>, impl FnOnce() -> Result<usize, Status> + Send + 'static) {
        let begun = Arc::new(AtomicUsize::new(0));
        let (let_go, wait) = mpsc::channel();
        let count = Arc::clone(&begun);
        let work = move || {
            let nth = count.fetch_add(1, Ordering::SeqCst);
            wait.recv().map_err(|_| Status::unknown("nobody lets it go"))?;
            Ok(nth)
        };
        (Gate::new(8), begun, let_go, work)
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn who_left_and_comes_back_gets_the_result_of_the_first_call() {
        let (gate, begun, let_go, work) = held();
        let first = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass("v", call(Rpc::NodeStageVolume, "a"), work).await }
        });
        until(|| begun.load(Ordering::SeqCst) == 1).await;
        first.abort();
        let second = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass("v", call(Rpc::NodeStageVolume, "a"), || Ok(99_usize)).await }
        });
        tokio::task::yield_now().await;
        let_go.send(()).unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 0, "the work of the first one was done, and once");
    }

    #[tokio::test]
    async fn another_call_of_a_volume_waits_its_turn_and_not_for_ever() {
        let (mut gate, begun, let_go, work) = held();
        gate.turn = Duration::from_millis(20);
        let first = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass("v", call(Rpc::NodeStageVolume, "a"), work).await }
        });
        until(|| begun.load(Ordering::SeqCst) == 1).await;
        let refused = gate.pass("v", call(Rpc::NodeStageVolume, "b"), || Ok(0_usize)).await.unwrap_err();
        assert_eq!((refused.code(), refused.message().contains("NodeStageVolume")), (tonic::Code::Aborted, true));
        assert_eq!(
            gate.pass("other", call(Rpc::NodeStageVolume, "b"), || Ok(7_usize)).await.unwrap(),
            7,
            "another volume"
        );
        gate.turn = Duration::from_secs(60);
        let second = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass("v", call(Rpc::NodeStageVolume, "b"), || Ok(5_usize)).await }
        });
        tokio::task::yield_now().await;
        let_go.send(()).unwrap();
        assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (0, 5));
        assert!(gate.lock().is_empty());
    }

    #[tokio::test]
    async fn a_look_waits_for_no_work_and_the_same_is_joined() {
        let (full, begun, let_go, work) = held();
        let full = Gate { room: Arc::new(Semaphore::new(1)), aside: Arc::new(Semaphore::new(0)), ..full };
        let gate = full.clone();
        let holding = tokio::spawn(async move { gate.pass("v", call(Rpc::NodeStageVolume, "a"), work).await });
        until(|| begun.load(Ordering::SeqCst) == 1).await;
        assert_eq!(full.look(call(Rpc::About, ""), || Ok(7_u8)).await.unwrap(), 7, "all that work are held up");
        let looks = Arc::new(AtomicUsize::new(0));
        let (show, wait) = mpsc::channel();
        let count = Arc::clone(&looks);
        let slow = move || {
            wait.recv().map_err(|_| Status::unknown("nobody shows it"))?;
            Ok(count.fetch_add(1, Ordering::SeqCst))
        };
        let (first, second) = (full.clone(), full.clone());
        let first = tokio::spawn(async move { first.look(call(Rpc::About, ""), slow).await });
        until(|| full.lock().len() == 2).await;
        let second = tokio::spawn(async move { second.look(call(Rpc::About, ""), || Ok(99_usize)).await });
        assert_eq!(full.look(call(Rpc::About, ""), || Ok("of another kind")).await.unwrap(), "of another kind");
        show.send(()).unwrap();
        assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (0, 0));
        let_go.send(()).unwrap();
        holding.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_blocks_nobody() {
        let gate = Gate::new(1);
        let broken =
            gate.pass("v", call(Rpc::About, ""), || -> Result<(), Status> { panic!("broken") }).await.unwrap_err();
        assert_eq!(broken.code(), tonic::Code::Unavailable);
        assert_eq!(gate.pass("v", call(Rpc::About, ""), || Ok(1)).await.unwrap(), 1);
    }
}
