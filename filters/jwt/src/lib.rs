//! Lets requests with a valid JSON Web Token pass.
