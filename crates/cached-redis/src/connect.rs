//! Making a connection: one over which the server tells what changed, if it can be had.

use std::sync::Arc;

use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisError, aio::SendError};

use crate::{
    cluster::Territory,
    connection::Connection,
    settings::Settings,
    tracking::Tracking,
    watch::{Ear, Watch},
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
    /// What the server has of its cluster, if it is in one.
    pub(crate) territory: Option<Territory>,
}

/// A new connection: the server has answered over it.
pub(crate) async fn connect(settings: &Settings, watch: &Arc<Watch>) -> Option<Connected> {
    let endpoint = &settings.endpoint;
    // At each attempt: it may have moved.
    let server = endpoint.locate(settings.connect_timeout).await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        // Whoever asks has a budget already, and need not pay for a second timer.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let ear = Arc::new(Ear::new(Arc::clone(watch)));
    let listener = Arc::clone(&ear);
    let listening = config.clone().set_push_sender(move |push| {
        listener.hear(&push);
        Ok::<_, SendError>(())
    });
    // In RESP3 the server may say something unasked.
    let (mut connection, can_track) = match endpoint.open(&server, ProtocolVersion::RESP3, &listening).await {
        Ok(connection) => (connection, true),
        Err(error) if is_too_old(&error) => {
            (endpoint.open(&server, ProtocolVersion::RESP2, &config).await.ok()?, false)
        }
        Err(_) => return None,
    };
    if !endpoint.confirm(&server, &mut connection).await {
        return None;
    }
    let mut territory = watch.scout.as_ref().map(Territory::new);
    let post = match &mut territory {
        None => watch.attached().map(|attached| attached.post.clone()),
        Some(territory) => {
            territory.survey(&mut connection).await.ok()?;
            territory.post()
        }
    };
    let echo = post.as_ref().map(|post| post.echo.as_str());
    let tracking =
        if can_track { Tracking::start(&mut connection, &ear, echo).await.ok()? } else { Tracking::Off };
    Some(Connected { connection, ear, tracking, territory })
}

/// Whether the server answered, and did not understand or does not allow the new protocol. Of a wrong password it
/// would say the same again.
fn is_too_old(error: &RedisError) -> bool {
    if error.kind() == ErrorKind::RESP3NotSupported {
        return true;
    }
    let errors = error.clone().into_server_errors();
    errors.is_some_and(|errors| errors.iter().all(|(_, error)| error.code() != "WRONGPASS"))
}
