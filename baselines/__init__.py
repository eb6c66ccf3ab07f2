"""The strategies that EVF-SAM is compared with; each stands on SAM and the contract of `evfsam.types` alone."""
