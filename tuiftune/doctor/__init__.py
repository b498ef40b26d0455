"""Is this machine fit to fine-tune on? Findings, each with what to do; torch and NVML in processes of their own."""
