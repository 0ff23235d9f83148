
mod agent_transcripts;
