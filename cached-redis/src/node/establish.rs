//! Connection setup: locates the server, negotiates the protocol, and starts tracking if possible.
//!
//! The order is credentials, address, greeting (RESP3, then RESP2), role check, survey of the cluster,
//! tracking mode. `supervisor` calls `connect` and sends the first heartbeat; `tracking::trial` selects the
//! mode.

use std::sync::Arc;

use cached_core::TierCause;
use redis::{AsyncConnectionConfig, ProtocolVersion, aio::SendError};

use crate::{
    connect::{
        cause::{self},
        connection::Connection,
        credentials::Identity,
        endpoint::Unopened,
        query::Protocol,
        settings::Settings,
        stage::Stage,
    },
    tracking::{
        cluster_view::OwnedSlots,
        mode::Tracking,
        push::{PushListener, PushRouter},
        trial,
    },
};

/// Number of requests that may queue for the connection. Further ones wait, within their budgets.
const MAX_QUEUED: usize = 1024;

/// A new connection.
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    /// Listener for the pushes of the connection.
    pub(crate) listener: Arc<PushListener>,
    /// Tracking mode of the connection.
    pub(crate) tracking: Tracking,
    /// Reason why the server pushes no changes, if so.
    pub(crate) untracked: Option<TierCause>,
    /// Set if RESP2 is only a fallback, so that another connection may use RESP3.
    pub(crate) is_resp2_fallback: bool,
    /// Slots of the server, if it is in a cluster.
    pub(crate) slots: Option<Box<dyn OwnedSlots>>,
}

/// Opens a connection over which the server has answered.
pub(crate) async fn connect(
    settings: &Settings,
    router: &Arc<PushRouter>,
    protocol: Protocol,
    stage: &Stage,
) -> Result<Connected, TierCause> {
    let endpoint = &settings.endpoint;
    let identity = Identity::request(endpoint.credentials(), stage).await?;
    // Resolved at each attempt, since the server may have moved.
    let server = endpoint.locate(&identity, settings.connect_timeout, stage).await?;
    let config = AsyncConnectionConfig::new()
        // No timeouts here: an attempt has a budget as a whole, and so has each operation.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(MAX_QUEUED);
    let listener = Arc::new(PushListener::new(Arc::clone(router)));
    let push_listener = Arc::clone(&listener);
    let push_config = config.clone().set_push_sender(move |push| {
        push_listener.receive(&push);
        Ok::<_, SendError>(())
    });
    // RESP3 first: only it has pushes.
    let newest = match protocol {
        Protocol::Resp2 => None,
        Protocol::Any | Protocol::Resp3 => {
            match endpoint.open(&server, &identity, ProtocolVersion::RESP3, &push_config, stage).await {
                Ok(connection) => Some(connection),
                Err(Unopened { may_lack_resp3: true, .. }) if protocol == Protocol::Any => None,
                Err(Unopened { cause, .. }) => return Err(cause),
            }
        }
    };
    let speaks_resp3 = newest.is_some();
    let mut connection = match newest {
        Some(connection) => connection,
        None => {
            let opened = endpoint.open(&server, &identity, ProtocolVersion::RESP2, &config, stage).await;
            opened.map_err(|unopened| unopened.cause)?
        }
    };
    endpoint.verify_primary(&server, &mut connection).await?;
    let mut slots = router.cluster.as_ref().map(|view| view.owned_slots());
    let registry = match &mut slots {
        None => router.attached().map(|attached| attached.registry.clone()),
        Some(slots) => {
            slots.survey(&mut connection).await.map_err(|error| cause::of_survey(&error))?;
            slots.registry()
        }
    };
    let echo = registry.as_ref().map(|registry| registry.echo.as_str());
    let (tracking, untracked) = if router.is_without_pushes {
        (Tracking::Off, None)
    } else if speaks_resp3 {
        let started = trial::start(&mut connection, &listener, echo).await;
        started.map_err(|error| cause::of_error(&error))?
    } else {
        (Tracking::Off, Some(TierCause::NoResp3))
    };
    let is_resp2_fallback = !speaks_resp3 && protocol == Protocol::Any && !router.is_without_pushes;
    Ok(Connected { connection, listener, tracking, untracked, is_resp2_fallback, slots })
}
