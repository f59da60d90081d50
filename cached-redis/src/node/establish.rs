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
const QUEUE: usize = 1024;

/// A new connection.
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    /// Listener for the pushes of the connection.
    pub(crate) ear: Arc<PushListener>,
    /// Tracking mode of the connection.
    pub(crate) tracking: Tracking,
    /// Reason why the server pushes no changes, if so.
    pub(crate) deaf: Option<TierCause>,
    /// Set if RESP2 is only a fallback, so that another connection may use RESP3.
    pub(crate) is_makeshift: bool,
    /// Slots of the server, if it is in a cluster.
    pub(crate) slots: Option<Box<dyn OwnedSlots>>,
}

/// Opens a connection over which the server has answered.
pub(crate) async fn connect(
    settings: &Settings,
    watch: &Arc<PushRouter>,
    protocol: Protocol,
    stage: &Stage,
) -> Result<Connected, TierCause> {
    let endpoint = &settings.endpoint;
    let identity = Identity::ask(endpoint.credentials(), stage).await?;
    // Resolved at each attempt, since the server may have moved.
    let server = endpoint.locate(&identity, settings.connect_timeout, stage).await?;
    let config = AsyncConnectionConfig::new()
        // No timeouts here: an attempt has a budget as a whole, and so has each operation.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let ear = Arc::new(PushListener::new(Arc::clone(watch)));
    let listener = Arc::clone(&ear);
    let listening = config.clone().set_push_sender(move |push| {
        listener.hear(&push);
        Ok::<_, SendError>(())
    });
    // RESP3 first: only it has pushes.
    let newest = match protocol {
        Protocol::Resp2 => None,
        Protocol::Any | Protocol::Resp3 => {
            match endpoint.open(&server, &identity, ProtocolVersion::RESP3, &listening, stage).await {
                Ok(connection) => Some(connection),
                Err(Unopened { knows_no_resp3: true, .. }) if protocol == Protocol::Any => None,
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
    endpoint.confirm(&server, &mut connection).await?;
    let mut slots = watch.cluster.as_ref().map(|view| view.connected());
    let post = match &mut slots {
        None => watch.attached().map(|attached| attached.post.clone()),
        Some(slots) => {
            slots.survey(&mut connection).await.map_err(|error| cause::of_survey(&error))?;
            slots.post()
        }
    };
    let echo = post.as_ref().map(|post| post.echo.as_str());
    let (tracking, deaf) = if watch.is_mute {
        (Tracking::Off, None)
    } else if speaks_resp3 {
        let started = trial::start(&mut connection, &ear, echo).await;
        started.map_err(|error| cause::of_error(&error))?
    } else {
        (Tracking::Off, Some(TierCause::NoResp3))
    };
    let is_makeshift = !speaks_resp3 && protocol == Protocol::Any && !watch.is_mute;
    Ok(Connected { connection, ear, tracking, deaf, is_makeshift, slots })
}
