//! Cached functions of six shapes, as an application has them. `tests/code_size.rs` measures their code.
//!
//! The program has six functions. The feature `more-functions` adds six of the same shapes, which return the
//! same types. The feature `more-types` adds six that return types of their own.

#![allow(dead_code, reason = "companions, and a field that only `Debug` reads")]

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

/// Defines the types that [`functions`] return.
macro_rules! types {
    () => {
        use serde::{Deserialize, Serialize};

        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub(crate) struct User {
            pub(crate) id: u64,
            pub(crate) name: String,
            pub(crate) roles: Vec<String>,
        }

        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub(crate) struct Row {
            pub(crate) amount: f64,
            pub(crate) note: Option<String>,
        }

        #[derive(Clone, Debug)]
        pub(crate) struct Failed(pub(crate) String);
    };
}

/// Defines six functions, and `call_all`, which calls each of them.
macro_rules! functions {
    ($types:path) => {
        use cached_aside::cached;
        use $types::{Failed, Row, User};

        #[cached("user", ttl = "1m")]
        async fn user(id: u64) -> Result<User, Failed> {
            if id == 0 {
                return Err(Failed("no user".to_owned()));
            }
            Ok(User { id, name: format!("user {id}"), roles: Vec::new() })
        }

        #[cached("rows", ttl = "1m")]
        async fn rows(name: &str, count: u32) -> Vec<Row> {
            vec![Row { amount: f64::from(count), note: Some(name.to_owned()) }]
        }

        #[cached("title:{id}", ttl = "1m")]
        async fn title(id: u64) -> Option<String> {
            (id > 0).then(|| id.to_string())
        }

        #[cached("total", ttl = "1m")]
        async fn total(id: u64) -> u64 {
            id + 1
        }

        #[cached("length", ttl = "1m", local)]
        fn length(text: &str) -> usize {
            text.len()
        }

        struct Service {
            base: u64,
        }

        impl Service {
            #[cached("service:{self.base}:{id}", ttl = "1m", handle = user_entry)]
            async fn user(&self, id: u64) -> Result<User, Failed> {
                Ok(User { id: id + self.base, name: String::new(), roles: Vec::new() })
            }
        }

        pub(crate) async fn call_all(id: u64) {
            println!("{:?}", user(id).await);
            println!("{:?}", rows("ada", 7).await);
            println!("{:?}", title(id).await);
            println!("{}", total(id).await);
            println!("{}", length("ada"));
            println!("{:?}", Service { base: id }.user(id).await);
        }
    };
}

mod types {
    types!();
}

mod functions {
    functions!(super::types);
}

#[cfg(feature = "more-functions")]
mod more_functions {
    functions!(super::types);
}

#[cfg(feature = "more-types")]
mod own_types {
    types!();
}

#[cfg(feature = "more-types")]
mod more_types {
    functions!(super::own_types);
}

/// Defines a place that polls the calls once, which is enough: no body waits.
///
/// The compiler copies the code of a future into each unit of the crate that polls it. A runtime polls the
/// future of `main` in several places, too.
macro_rules! places {
    ($($place:ident)*) => {$(
        mod $place {
            use super::*;

            fn poll(calls: impl Future<Output = ()>) {
                let _ = pin!(calls).poll(&mut Context::from_waker(Waker::noop()));
            }

            pub(super) fn poll_all() {
                poll(functions::call_all(7));
                #[cfg(feature = "more-functions")]
                poll(more_functions::call_all(7));
                #[cfg(feature = "more-types")]
                poll(more_types::call_all(7));
            }
        }
    )*};
}

places! { first_place second_place third_place }

fn main() {
    first_place::poll_all();
    second_place::poll_all();
    third_place::poll_all();
}
