//! A small agent: it enrols, gives signs of life to each process in turn, and changes
//! its token when it is told to.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::http::{Answer, Client};

#[derive(Clone)]
pub struct Agent {
    clients: [Client; 2],
    pub id: String,
    pub token: String,
    beats: usize,
}

impl Agent {
    /// Enrols at the first of `clients`, with the secret in the body.
    pub async fn enrol(
        clients: &[Client; 2],
        key: &str,
        secret: Option<&str>,
    ) -> Result<Self, Answer> {
        let answer = clients[0].post("/api/v1/agents/enroll", enrolment(key, secret)).await;
        if answer.status != 201 {
            return Err(answer);
        }
        let answer = answer.json();
        Ok(Self {
            clients: clients.clone(),
            id: answer["agentId"].as_str().unwrap().to_owned(),
            token: answer["authToken"].as_str().unwrap().to_owned(),
            beats: 0,
        })
    }

    /// From now on it speaks to these processes.
    pub fn speaks_to(&mut self, clients: &[Client; 2]) {
        self.clients = clients.clone();
    }

    /// Asks one of the processes, the other one next time.
    pub async fn ask(&mut self, what: &str) -> Answer {
        self.beats += 1;
        let client = self.clients[self.beats % 2].bearing(&self.token);
        client.post(&format!("/api/v1/agents/{}/{what}", self.id), json!({})).await
    }

    /// A sign of life, and a new token if one is due. Whatever is not as it should be is
    /// answered.
    pub async fn beat(&mut self) -> Result<(), Answer> {
        let answer = self.ask("heartbeat").await;
        if answer.status != 200 {
            return Err(answer);
        }
        if answer.json()["tokenRotationRequired"] == true {
            let rotated = self.ask("rotate-token").await;
            if rotated.status != 200 {
                return Err(rotated);
            }
            self.token = rotated.json()["authToken"].as_str().unwrap().to_owned();
        }
        Ok(())
    }
}

/// The body of an enrolment.
pub fn enrolment(key: &str, secret: Option<&str>) -> Value {
    json!({
        "enrollmentKey": key, "enrollmentSecret": secret, "hostname": "host", "osType": "linux",
        "osVersion": "12", "architecture": "amd64", "agentVersion": "1.0",
    })
}

/// Agents that enrol one after the other and live on, until they are stopped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    secret: Arc<Mutex<String>>,
    task: JoinHandle<(usize, usize)>,
}

impl Traffic {
    /// Begins with agents that enrol with `key` and `secret`.
    pub fn of(clients: &[Client; 2], key: &str, secret: &str) -> Self {
        let (clients, key) = (clients.clone(), key.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let secret = Arc::new(Mutex::new(secret.to_owned()));
        let (stopped, present) = (Arc::clone(&stop), Arc::clone(&secret));
        let task = tokio::spawn(async move {
            let (mut agents, mut beats) = (Vec::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                if agents.len() < 40 {
                    let secret = present.lock().unwrap().clone();
                    let turn = agents.len() % 2;
                    let clients = [clients[turn].clone(), clients[1 - turn].clone()];
                    let agent = Agent::enrol(&clients, &key, Some(&secret)).await;
                    agents.push(agent.unwrap_or_else(|refused| panic!("{refused:?}")));
                }
                for agent in agents.iter_mut().rev().take(8) {
                    agent.beat().await.unwrap_or_else(|refused| panic!("{refused:?}"));
                    beats += 1;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            // Nobody was locked out, not even who was silent for long. The second sign of
            // life presents the token that the first one led to.
            for agent in &mut agents {
                for _ in 0..2 {
                    agent.beat().await.unwrap_or_else(|refused| panic!("{refused:?}"));
                }
            }
            (agents.len(), beats)
        });
        Self { stop, secret, task }
    }

    /// From now on agents enrol with this secret.
    pub fn present(&self, secret: &str) {
        secret.clone_into(&mut self.secret.lock().unwrap());
    }

    /// Ends it. No request failed.
    pub async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (agents, beats) = self.task.await.expect("a request failed");
        assert!(agents > 0 && beats > 0, "{agents} agents, {beats} signs of life");
    }
}
