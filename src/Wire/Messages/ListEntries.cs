using System.Runtime.CompilerServices;
using Ublk.Wire.Ids;

namespace Ublk.Wire.Messages;

/// <summary>One epoch of a replica's history; in a list by epoch.</summary>
/// <param name="Epoch">The epoch.</param>
/// <param name="First">First sequence number of the epoch.</param>
public readonly record struct HistoryEntry(Epoch Epoch, Sequence First) : IListEntry<HistoryEntry>
{
    static int IListEntry<HistoryEntry>.FieldCount => 2;

    static HistoryEntry IListEntry<HistoryEntry>.Decode(scoped ref FieldReader fields) =>
        new(fields.Epoch(), fields.Sequence());

    static void IListEntry<HistoryEntry>.Encode<TSink>(in HistoryEntry entry, ref TSink fields)
    {
        fields.Put(entry.Epoch);
        fields.Put(entry.First);
    }

    static bool IListEntry<HistoryEntry>.IsAfter(in HistoryEntry entry, in HistoryEntry previous) =>
        entry.Epoch > previous.Epoch;
}

/// <summary>Grains in a row that may hold bytes newer than D; in a list by place, without overlap.</summary>
/// <param name="FirstGrain">The first, counted from the volume's beginning.</param>
/// <param name="Count">How many, 1 or more.</param>
public readonly record struct IntentRun(long FirstGrain, long Count) : IListEntry<IntentRun>
{
    static int IListEntry<IntentRun>.FieldCount => 2;

    static IntentRun IListEntry<IntentRun>.Decode(scoped ref FieldReader fields)
    {
        (long first, long count) = Run.Decode(ref fields);
        return new IntentRun(first, count);
    }

    static void IListEntry<IntentRun>.Encode<TSink>(in IntentRun entry, ref TSink fields) =>
        Run.Encode(entry.FirstGrain, entry.Count, ref fields);

    static bool IListEntry<IntentRun>.IsAfter(in IntentRun entry, in IntentRun previous) =>
        entry.FirstGrain >= previous.FirstGrain + previous.Count;
}

/// <summary>
/// Regions in a row that are known stale, with the older claim that is left for them; in a list by place,
/// without overlap.
/// </summary>
/// <param name="FirstRegion">The first, counted from the volume's beginning.</param>
/// <param name="Count">How many, 1 or more.</param>
/// <param name="OldEpoch">Epoch of the older claim; 0 if the bytes never were of this volume.</param>
/// <param name="OldSequence">Everything up to it is in these bytes.</param>
public readonly record struct MissingRun(
    long FirstRegion, long Count, Epoch OldEpoch, Sequence OldSequence) : IListEntry<MissingRun>
{
    static int IListEntry<MissingRun>.FieldCount => 4;

    static MissingRun IListEntry<MissingRun>.Decode(scoped ref FieldReader fields)
    {
        (long first, long count) = Run.Decode(ref fields);
        return new MissingRun(first, count, fields.Epoch(), fields.Sequence());
    }

    static void IListEntry<MissingRun>.Encode<TSink>(in MissingRun entry, ref TSink fields)
    {
        Run.Encode(entry.FirstRegion, entry.Count, ref fields);
        fields.Put(entry.OldEpoch);
        fields.Put(entry.OldSequence);
    }

    static bool IListEntry<MissingRun>.IsAfter(in MissingRun entry, in MissingRun previous) =>
        entry.FirstRegion >= previous.FirstRegion + previous.Count;
}

/// <summary>An operation applied above A; in a list by number.</summary>
/// <param name="Sequence">Its number.</param>
/// <param name="Operation">What it did.</param>
/// <param name="OffsetBytes">Start, in sectors' multiples.</param>
/// <param name="LengthBytes">Length, in sectors' multiples, above 0 and up to 1 GiB.</param>
public readonly record struct OutOfOrderEntry(
    Sequence Sequence, Mutation Operation, long OffsetBytes, int LengthBytes)
    : IListEntry<OutOfOrderEntry>
{
    private bool IsConsistent => OffsetBytes + LengthBytes <= MessageLimits.MaxVolumeBytes;

    static int IListEntry<OutOfOrderEntry>.FieldCount => 4;

    static OutOfOrderEntry IListEntry<OutOfOrderEntry>.Decode(scoped ref FieldReader fields)
    {
        var entry = new OutOfOrderEntry(
            fields.Sequence(), fields.Mutation(), fields.Offset(),
            (int)fields.Length(MessageLimits.MaxMutationBytes));
        fields.Require(entry.IsConsistent);
        return entry;
    }

    static void IListEntry<OutOfOrderEntry>.Encode<TSink>(in OutOfOrderEntry entry, ref TSink fields)
    {
        FieldWriter.Require(entry.IsConsistent);
        fields.Put(entry.Sequence);
        fields.Put(entry.Operation);
        fields.Offset(entry.OffsetBytes);
        fields.Length(entry.LengthBytes, MessageLimits.MaxMutationBytes);
    }

    static bool IListEntry<OutOfOrderEntry>.IsAfter(
        in OutOfOrderEntry entry, in OutOfOrderEntry previous) => entry.Sequence > previous.Sequence;
}

/// <summary>Digest of a page of region versions; in a list by page.</summary>
/// <param name="Page">
/// The page: regions from page × <see cref="MessageLimits.RegionsPerVersionPage"/> on.
/// </param>
/// <param name="Digest">Digest of its versions.</param>
public readonly record struct VersionDigest(long Page, Digest Digest) : IListEntry<VersionDigest>
{
    static int IListEntry<VersionDigest>.FieldCount => 2;

    static VersionDigest IListEntry<VersionDigest>.Decode(scoped ref FieldReader fields) =>
        new(fields.Int64(MessageLimits.MaxVersionPages), fields.Digest());

    static void IListEntry<VersionDigest>.Encode<TSink>(in VersionDigest entry, ref TSink fields)
    {
        fields.Int64(entry.Page, MessageLimits.MaxVersionPages);
        fields.Put(entry.Digest);
    }

    static bool IListEntry<VersionDigest>.IsAfter(in VersionDigest entry, in VersionDigest previous) =>
        entry.Page > previous.Page;
}

/// <summary>Regions in a row of one version; in a list by place, without overlap.</summary>
/// <param name="FirstRegion">The first, counted from the volume's beginning.</param>
/// <param name="Count">How many, 1 or more.</param>
/// <param name="Version">Last operation that touched them; 0 if none ever did.</param>
public readonly record struct VersionRun(long FirstRegion, long Count, Sequence Version)
    : IListEntry<VersionRun>
{
    static int IListEntry<VersionRun>.FieldCount => 3;

    static VersionRun IListEntry<VersionRun>.Decode(scoped ref FieldReader fields)
    {
        (long first, long count) = Run.Decode(ref fields);
        return new VersionRun(first, count, fields.Sequence());
    }

    static void IListEntry<VersionRun>.Encode<TSink>(in VersionRun entry, ref TSink fields)
    {
        Run.Encode(entry.FirstRegion, entry.Count, ref fields);
        fields.Put(entry.Version);
    }

    static bool IListEntry<VersionRun>.IsAfter(in VersionRun entry, in VersionRun previous) =>
        entry.FirstRegion >= previous.FirstRegion + previous.Count;
}

/// <summary>A member of a replica set; in a list by number.</summary>
/// <param name="Replica">The replica.</param>
/// <param name="Incarnation">The only incarnation of it that counts.</param>
public readonly record struct ReplicaMember(ReplicaId Replica, Incarnation Incarnation)
    : IListEntry<ReplicaMember>
{
    static int IListEntry<ReplicaMember>.FieldCount => 2;

    static ReplicaMember IListEntry<ReplicaMember>.Decode(scoped ref FieldReader fields) =>
        new(fields.Replica(), fields.Incarnation());

    static void IListEntry<ReplicaMember>.Encode<TSink>(in ReplicaMember entry, ref TSink fields)
    {
        fields.Put(entry.Replica);
        fields.Put(entry.Incarnation);
    }

    static bool IListEntry<ReplicaMember>.IsAfter(in ReplicaMember entry, in ReplicaMember previous) =>
        entry.Replica.Value > previous.Replica.Value;
}

/// <summary>The two fields of every run: the first and how many.</summary>
internal static class Run
{
    public static (long First, long Count) Decode(scoped ref FieldReader fields)
    {
        long first = fields.Int64(MessageLimits.MaxRegions);
        long count = fields.Int64(MessageLimits.MaxRegions);
        fields.Require(IsConsistent(first, count));
        return (first, count);
    }

    public static void Encode<TSink>(
        long first, long count, ref TSink fields,
        [CallerArgumentExpression(nameof(first))] string nameOfFirst = "",
        [CallerArgumentExpression(nameof(count))] string nameOfCount = "")
        where TSink : struct, IFieldSink, allows ref struct
    {
        FieldWriter.Require(IsConsistent(first, count));
        fields.Int64(first, MessageLimits.MaxRegions, nameOfFirst);
        fields.Int64(count, MessageLimits.MaxRegions, nameOfCount);
    }

    private static bool IsConsistent(long first, long count) =>
        count > 0 && count <= MessageLimits.MaxRegions - first;
}
