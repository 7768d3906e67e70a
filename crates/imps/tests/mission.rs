//! The real operator on a real API server: what it promises, seen from outside, as a user of a cluster sees it.
//!
//! Each scene takes names that no other has, so that scenes share one control plane and one operator. Those that break
//! something, or watch every request, take turns on a second one.
#![allow(clippy::unwrap_used, reason = "a scene fails where its stage does")]

mod situation;

mod mission {
    pub(crate) mod account;
    pub(crate) mod acr;
    pub(crate) mod admission;
    pub(crate) mod adoption;
    pub(crate) mod bad_source;
    pub(crate) mod canary;
    pub(crate) mod cloud;
    pub(crate) mod completion;
    pub(crate) mod corpus;
    pub(crate) mod crd;
    pub(crate) mod definition;
    pub(crate) mod diagnose;
    pub(crate) mod doctor;
    pub(crate) mod ecr;
    pub(crate) mod exchanged;
    pub(crate) mod explain;
    pub(crate) mod gcp;
    pub(crate) mod github;
    pub(crate) mod last_good;
    pub(crate) mod leader;
    pub(crate) mod login;
    pub(crate) mod migrate;
    pub(crate) mod outage;
    pub(crate) mod permission;
    pub(crate) mod plan;
    pub(crate) mod policy;
    pub(crate) mod process;
    pub(crate) mod proxy;
    pub(crate) mod read;
    pub(crate) mod reader;
    pub(crate) mod refresher;
    pub(crate) mod rights;
    pub(crate) mod selection;
    pub(crate) mod source;
    pub(crate) mod stage;
    pub(crate) mod status;
    pub(crate) mod survey;
    pub(crate) mod suspend;
    pub(crate) mod target;
    pub(crate) mod wait;
    pub(crate) mod walkthrough;
}
