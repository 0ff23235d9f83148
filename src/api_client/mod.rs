//! api_client
