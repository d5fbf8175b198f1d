//! An authenticator app: a seed, and the codes that `oathtool` computes of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::{process::Command, time::sleep};

/// The length of a step, in seconds.
const STEP: u64 = 30;

/// A device that shows each code once.
#[derive(Debug)]
pub struct Device {
    seed: String,
    /// The last step of which it has shown a code.
    shown: u64,
}

impl Device {
    pub fn new(seed: &str) -> Self {
        Self { seed: seed.to_owned(), shown: 0 }
    }

    /// A code that was not shown yet and is accepted now; waits for its time if need be.
    pub async fn code(&mut self) -> String {
        loop {
            if let Some(code) = self.code_now().await {
                return code;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// A code that was not shown yet, if one is accepted now: of this step or of those
    /// beside it. The one before is left out when it would be too old on the way.
    pub async fn code_now(&mut self) -> Option<String> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = seconds / STEP;
        let first = if seconds % STEP < STEP / 2 { now - 1 } else { now };
        let step = first.max(self.shown + 1);
        if step > now + 1 {
            return None;
        }
        self.shown = step;
        Some(self.again().await)
    }

    /// The code that it has shown last.
    pub async fn again(&self) -> String {
        let at = format!("@{}", self.shown * STEP);
        let oathtool = Command::new("oathtool")
            .args(["--totp", "--base32", "--now", &at, &self.seed])
            .output()
            .await
            .unwrap();
        assert!(oathtool.status.success(), "{}", String::from_utf8_lossy(&oathtool.stderr));
        String::from_utf8(oathtool.stdout).unwrap().trim().to_owned()
    }
}
