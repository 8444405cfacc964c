"""The second executor: a plan becomes CloudFormation. `synth.py` tells the pipeline."""
