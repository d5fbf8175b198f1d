//! A real TURN server: coturn.
