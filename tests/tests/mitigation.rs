//! The bench of mitigation measures what it says: without a throttler all of an attack reaches the
//! host, with one that blocks its sources nothing does, and clients are served. Says nothing about
//! what the default configuration does.
