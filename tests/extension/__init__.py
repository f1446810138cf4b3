"""What a file of one's own can add to agentgym: none here touches ours, each is a page of documentation."""
