"""One file a stage of `artefacts`, each with its `STAGE`."""
