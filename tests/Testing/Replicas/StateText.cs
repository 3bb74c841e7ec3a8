using System.Text;
using Ublk.Replication.Store;

namespace Ublk.Testing.Replicas;

/// <summary>A state as text, so that two can be compared and a difference be read.</summary>
public static class StateText
{
    public static string Of(MetadataState state)
    {
        var text = new StringBuilder();
        text.AppendLine($"size {state.SizeBytes}");
        text.AppendLine($"promise {state.Promise}");
        text.AppendLine($"configuration {Text(state.Configuration)}");
        text.AppendLine($"start {state.EpochStart}");
        text.AppendLine($"durable {state.Durable} floor {state.AppliedFloor}");
        text.AppendLine($"condition {state.Condition} in {state.VoidedIn} lease {state.LongestLeaseMs}");
        text.AppendLine($"boot {state.Boot} cursor {state.Cursor} view {state.View}");
        foreach (HistoryPoint point in state.History.Points)
        {
            text.AppendLine($"history {point.Epoch} {point.Sequence}");
        }

        GrainMap intents = state.Intents;
        text.AppendLine($"intents {intents.Count} in {intents.Runs}, {intents.UsedBlocks} blocks");
        for (int at = intents.NextIn(0); at < intents.Grains; at = intents.NextIn(intents.NextOut(at)))
        {
            text.AppendLine($"intents {at}..{intents.NextOut(at)}");
        }

        MissingMap missing = state.Missing;
        text.AppendLine($"missing {missing.Count} in {missing.Runs}, {missing.ClaimCount} claims");
        for (int at = missing.NextMissing(0); at < missing.Regions; at = missing.NextMissing(at + 1))
        {
            missing.TryGetClaim(at, out HistoryPoint claim);
            text.AppendLine($"missing {at} {claim}");
        }

        for (int at = 0; at < state.Versions.Regions; at++)
        {
            if (state.Versions[at] != 0)
            {
                text.AppendLine($"version {at} {state.Versions[at]}");
            }
        }

        return text.ToString();
    }

    private static string Text(ReplicaConfiguration? configuration) => configuration is null ? "none" :
        $"{configuration.Number}: {string.Join(' ', configuration.OldMembers.ToArray())} " +
        $"{configuration.OldWriteQuorum} | {string.Join(' ', configuration.Members.ToArray())} " +
        $"{configuration.WriteQuorum}";
}
