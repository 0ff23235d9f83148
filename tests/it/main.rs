mod agent;
mod agent_transcripts;
