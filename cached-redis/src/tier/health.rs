//! State and health of the tier.

use crate::{
    availability::{
        health::RedisHealth,
        status::{RedisState, RedisStateWatch},
    },
    tier::RedisTier,
};

impl RedisTier {
    /// Returns the facts known about Redis now, without asking a server.
    ///
    /// ```
    /// # fn main() -> Result<(), cached_core::Error> {
    /// let tier = cached_redis::RedisTier::builder("redis://127.0.0.1:6379/").build()?;
    /// let health = tier.health();
    /// assert_eq!((health.reconnects, health.last_answer_ms), (0, None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn health(&self) -> RedisHealth {
        self.topology.health()
    }

    /// Returns the state of the tier now, without asking a server.
    pub fn state(&self) -> RedisState {
        self.topology.state()
    }

    /// Returns a watch that follows the state.
    ///
    /// ```
    /// use cached_redis::{RedisState, RedisTier};
    ///
    /// # async fn alert(_: RedisState) {}
    /// # async fn example() -> Result<(), cached_core::Error> {
    /// let tier = RedisTier::builder("redis://127.0.0.1:6379/").build()?;
    /// let mut watch = tier.watch_state();
    /// tokio::spawn(async move {
    ///     loop {
    ///         match watch.changed().await {
    ///             RedisState::Up => println!("Redis works again"),
    ///             state => alert(state).await,
    ///         }
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_state(&self) -> RedisStateWatch {
        RedisStateWatch(self.topology.watch_state())
    }
}
