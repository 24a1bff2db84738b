//! Floor 3: the control plane; blind to the gateway.
