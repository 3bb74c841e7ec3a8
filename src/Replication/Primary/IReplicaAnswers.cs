using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// Who takes what replicas answer to promises and comparisons: the promotion until the volume serves, then
/// the admissions.
/// </summary>
internal interface IReplicaAnswers
{
    /// <summary>The copies whose questions are being answered.</summary>
    RegionCopies Copies { get; }

    /// <summary>The head of a claim.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="claim">It.</param>
    void OnClaim(int place, scoped in Claim claim);

    /// <summary>A part of a claim's lists, or of what a replica of the stream misses.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="entries">The part.</param>
    /// <param name="now">The clock.</param>
    void OnClaimEntries(int place, scoped in ClaimEntries entries, long now);

    /// <summary>Versions of regions.</summary>
    /// <param name="place">Whose.</param>
    /// <param name="versions">They.</param>
    void OnVersions(int place, scoped in Versions versions);
}
