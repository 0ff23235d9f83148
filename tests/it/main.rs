//! Everything that needs more than one pure function: real sockets, real peers that misbehave.

//mod fake_github;
//mod forge_github;
//mod forge_local;
mod webhook_address;
mod webhook_send;
