//! The clock that the updater waits by.

use embedded_hal_async::delay::DelayUs;
use std::time::Duration;

/// Real time.
pub(crate) struct Clock;

impl DelayUs for Clock {
    async fn delay_us(&mut self, us: u32) {
        wait(Duration::from_micros(us.into())).await;
    }

    async fn delay_ms(&mut self, ms: u32) {
        wait(Duration::from_millis(ms.into())).await;
    }
}

/// Lets others run first, always: the updater asks its time-out before its request, so a delay that is over at once
/// would keep it from ever sending one.
async fn wait(time: Duration) {
    tokio::task::yield_now().await;
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
