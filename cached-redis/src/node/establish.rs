//! Making a connection: one over which the server tells what changed, if it can be had.

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
        push::{Ear, Watch},
        trial,
    },
};

/// How many requests may queue for the connection before further ones wait, within their budgets.
const QUEUE: usize = 1024;

/// A new connection.
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    /// What listens on it.
    pub(crate) ear: Arc<Ear>,
    /// What the server tracks of it.
    pub(crate) tracking: Tracking,
    /// Why it tells nothing, if it does not.
    pub(crate) deaf: Option<TierCause>,
    /// Whether another connection may speak a newer protocol.
    pub(crate) is_makeshift: bool,
    /// What the server has of its cluster, if it is in one.
    pub(crate) slots: Option<Box<dyn OwnedSlots>>,
}

/// A new connection: the server has answered over it.
pub(crate) async fn connect(
    settings: &Settings,
    watch: &Arc<Watch>,
    protocol: Protocol,
    stage: &Stage,
) -> Result<Connected, TierCause> {
    let endpoint = &settings.endpoint;
    let identity = Identity::ask(endpoint.credentials(), stage).await?;
    // At each attempt: it may have moved.
    let server = endpoint.locate(&identity, settings.connect_timeout, stage).await?;
    let config = AsyncConnectionConfig::new()
        // An attempt as a whole has a budget, and so has each operation.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let ear = Arc::new(Ear::new(Arc::clone(watch)));
    let listener = Arc::clone(&ear);
    let listening = config.clone().set_push_sender(move |push| {
        listener.hear(&push);
        Ok::<_, SendError>(())
    });
    // In RESP3 the server may say something unasked.
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
