namespace Ublk.Replication.Runtime;

/// <summary>
/// What the replicas of a local volume say together of its configuration. No cluster keeps it for them: the
/// one that counts is the newest that any of them has recorded, in force or not, because a volume never
/// shrinks, and enough of them are open to know every one that ever was in force.
/// </summary>
/// <param name="Number">Number of the configuration that all of them can take.</param>
/// <param name="SizeBytes">Size of the volume in it.</param>
/// <param name="IsRecorded">
/// Whether a replica has recorded any; otherwise the size is the one they were formatted with.
/// </param>
internal readonly record struct LocalAgreement(ulong Number, long SizeBytes, bool IsRecorded)
{
    /// <summary>Asks replicas for what they know.</summary>
    /// <param name="replicas">Those that are or were open; null for others.</param>
    public static LocalAgreement Of(ReadOnlySpan<ReplicaFiles?> replicas)
    {
        ulong newest = 1, recorded = 0;
        long size = 0, formatted = 0;
        foreach (ReplicaFiles? replica in replicas)
        {
            if (replica?.Opened.State is { } state)
            {
                ulong number = state.Configuration?.Number ?? 0;
                newest = Math.Max(newest, Math.Max(state.Promise.Configuration, number));
                recorded = Math.Max(recorded, number);
                size = number > 0 ? Math.Max(size, state.SizeBytes) : size;
                formatted = number > 0 ? formatted : Math.Max(formatted, state.SizeBytes);
            }
        }

        if (recorded == 0)
        {
            return new LocalAgreement(newest, formatted, IsRecorded: false);
        }

        // A growth that was cut short may have left a number that nobody here knows more of, or one number
        // with two sizes: then the next number says what all are to have.
        bool isAgreed = recorded == newest;
        foreach (ReplicaFiles? replica in replicas)
        {
            isAgreed &= replica?.Opened.State is not { Configuration: { } known } state ||
                known.Number < newest || state.SizeBytes == size;
        }

        return new LocalAgreement(isAgreed ? newest : newest + 1, size, IsRecorded: true);
    }
}
