mod auth;
mod data;
mod extract;
mod middleware;
mod routes;
mod settings;
mod state;
fn main() { }
