using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Store;

/// <summary>
/// A numbered set of replicas with its write quorum; a joint one has an old and a new set, and both count.
/// Written twice.
/// <code>
///  0  2  type 2;  2  2  length 16 + 24 × members
///  4  1  members of the old set; 0 unless joint
///  5  1  W of the old set
///  6  1  members of the new set
///  7  1  W of the new set
///  8  8  number of the configuration
/// 16     members, old set first: replica (8; 0 to 2^32 − 1), incarnation (16, highest byte first)
/// </code>
/// </summary>
public sealed class ReplicaConfiguration : IMetadataEntry
{
    /// <summary>Length of the smallest one in bytes.</summary>
    internal const int MinBytes = MembersAt + MemberBytes;

    private const int MembersAt = 16;
    private const int MemberBytes = 24;
    private const int IncarnationAt = 8;

    private readonly ReplicaMember[] _members;
    private readonly int _oldCount;

    /// <summary>Makes a configuration of one set.</summary>
    /// <param name="number">Number, from 1.</param>
    /// <param name="members">1 to 7 replicas.</param>
    /// <param name="writeQuorum">W, 1 to their number.</param>
    /// <exception cref="ArgumentOutOfRangeException">Outside these ranges.</exception>
    public ReplicaConfiguration(ulong number, ReadOnlySpan<ReplicaMember> members, int writeQuorum)
        : this(number, [], 0, members, writeQuorum)
    {
    }

    /// <summary>Makes a joint configuration.</summary>
    /// <param name="number">Number, from 1.</param>
    /// <param name="oldMembers">The old set, up to 7; empty: not joint.</param>
    /// <param name="oldWriteQuorum">Its W; 0 when empty.</param>
    /// <param name="members">The new set, 1 to 7.</param>
    /// <param name="writeQuorum">Its W.</param>
    /// <exception cref="ArgumentOutOfRangeException">Outside these ranges.</exception>
    public ReplicaConfiguration(
        ulong number, ReadOnlySpan<ReplicaMember> oldMembers, int oldWriteQuorum,
        ReadOnlySpan<ReplicaMember> members, int writeQuorum)
    {
        ArgumentOutOfRangeException.ThrowIfZero(number);
        if (!IsLegal(oldMembers.Length, oldWriteQuorum, members.Length, writeQuorum))
        {
            throw new ArgumentOutOfRangeException(nameof(writeQuorum));
        }

        Number = number;
        OldWriteQuorum = oldWriteQuorum;
        WriteQuorum = writeQuorum;
        _oldCount = oldMembers.Length;
        _members = [.. oldMembers, .. members];
    }

    /// <summary>Number; a higher one replaces a lower one.</summary>
    public ulong Number { get; }

    /// <summary>Whether both sets must agree.</summary>
    public bool IsJoint => _oldCount > 0;

    /// <summary>The set that is being left; empty unless joint.</summary>
    public ReadOnlySpan<ReplicaMember> OldMembers => _members.AsSpan(0, _oldCount);

    /// <summary>W of the old set; 0 unless joint.</summary>
    public int OldWriteQuorum { get; }

    /// <summary>The set; while joint, the new one.</summary>
    public ReadOnlySpan<ReplicaMember> Members => _members.AsSpan(_oldCount);

    /// <summary>W of the set.</summary>
    public int WriteQuorum { get; }

    /// <inheritdoc/>
    public EntryRoom Room => EntryRoom.Reserved;

    /// <inheritdoc/>
    public int EncodedBytes => MembersAt + MemberBytes * _members.Length;

    /// <inheritdoc/>
    public void Encode(Span<byte> bytes)
    {
        bytes.PutHead(MetadataEntryType.Configuration);
        bytes[4] = (byte)_oldCount;
        bytes[5] = (byte)OldWriteQuorum;
        bytes[6] = (byte)Members.Length;
        bytes[7] = (byte)WriteQuorum;
        bytes.PutU64(8, Number);
        for (int i = 0; i < _members.Length; i++)
        {
            int at = MembersAt + MemberBytes * i;
            bytes.PutU64(at, _members[i].Replica.Value);
            bytes.PutBits(at + IncarnationAt, _members[i].Incarnation.Value);
        }
    }

    /// <summary>Reads an entry; null when it is none that could have been written.</summary>
    internal static ReplicaConfiguration? Decode(ReadOnlySpan<byte> bytes)
    {
        int oldCount = bytes[4], count = bytes[6];
        if (bytes.Length != MembersAt + MemberBytes * (oldCount + count) || bytes.U64(8) == 0 ||
            !IsLegal(oldCount, bytes[5], count, bytes[7]))
        {
            return null;
        }

        var members = new ReplicaMember[oldCount + count];
        for (int i = 0; i < members.Length; i++)
        {
            int at = MembersAt + MemberBytes * i;
            if (bytes.U64(at) > uint.MaxValue)
            {
                return null;
            }

            members[i] = new ReplicaMember(
                new ReplicaId(bytes.U32(at)), new Incarnation(bytes.Bits(at + IncarnationAt)));
        }

        return new ReplicaConfiguration(
            bytes.U64(8), members.AsSpan(0, oldCount), bytes[5], members.AsSpan(oldCount), bytes[7]);
    }

    private static bool IsLegal(int oldCount, int oldQuorum, int count, int quorum) =>
        oldCount <= StoreFormat.MaxMembers && oldQuorum <= oldCount && oldQuorum > 0 == oldCount > 0 &&
        count is > 0 and <= StoreFormat.MaxMembers && quorum > 0 && quorum <= count;
}
