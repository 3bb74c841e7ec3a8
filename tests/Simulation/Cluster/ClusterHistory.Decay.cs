using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Tests.Simulation.Judge;
using Ublk.Tests.Simulation.World;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Simulation.Cluster;

/// <content>
/// Scrubs: while everything happens they must not find anything; and once all is well and one disk has
/// decayed, they must find all of it, and repair it from the others.
/// </content>
internal sealed partial class ClusterHistory
{
    private const int DigestBytes = 4096;
    private const int SectorBytes = 512;
    private const int MinMembersToRepair = 3;

    private int FewWrites => Math.Min(10, _options.WindowOperations / 4);

    // Some bits turn, and maybe one write is dropped or goes elsewhere: on one replica, which nobody reads
    // unless it compares what it reads with checksums.
    private void Decay()
    {
        Settle();
        ReplicaMask members = Newest.Configuration.Members;
        PrimaryHost writer = _writer!;
        int unread = _options.HasChecksums ? NoPlace : writer.Options.Local;
        ReplicaHost[] others =
            [.. _hosts.Where(host => members.Has(host.Place) && host.Place != unread)];
        if (members.Count < MinMembersToRepair)
        {
            return;
        }

        ReplicaHost victim = others[_random.Below(others.Length)];
        ReplicaHost sound = _hosts[members.FirstOutside(default, victim.Place)];
        int pushed = writer.CopiesPushed;
        _world.IsDecaying = true;
        _world.Note($"decay of replica {victim.Place}");
        TurnBits(victim);
        if (_random.Chance(500))
        {
            victim.Image.Stray(after: 1 + _random.Below(FewWrites));
            WriteSome();
            RunUntil(() => _client.OpenCount == 0 && IsQuiet, EndLimitNs, mustCome: true);
            victim.Image.Faults = ImageFaults.None;
        }

        HashSet<long> decayed = Differing(victim, sound);
        HashSet<long> suspect = [.. victim.Image.Suspect];
        writer.Differences.Clear();
        writer.Scrub();
        bool isBusy = _random.Chance(500);
        if (isBusy)
        {
            WriteSome();
        }

        RunUntil(() => writer.Scrubbed is not null, EndLimitNs, mustCome: true);
        bool isPushed = writer.CopiesPushed > pushed && !_options.HasChecksums;
        if (writer.Scrubbed!.Absent.IsEmpty && !isPushed)
        {
            Compare(writer, victim.Place, decayed, suspect, isBusy);
            return;
        }

        // Who was absent, also for a moment, may have been brought up to date from the decayed one.
        RunUntil(() => _client.OpenCount == 0 && IsQuiet, EndLimitNs, mustCome: true);
        writer.Scrub();
        RunUntil(() => writer.Scrubbed is not null, EndLimitNs, mustCome: true);
        if (writer.Scrubbed.BlocksNotRepaired > 0)
        {
            RestoreFrom(sound, members);
        }
    }

    // Nobody takes over any more whom the faults had called.
    private void Settle()
    {
        _wanted++;
        foreach (PrimaryHost other in _primaries.FindAll(one => one != _writer))
        {
            Retire(other);
        }

        Pass(milliseconds: 1000);
        RunUntil(() => IsQuiet, EndLimitNs, mustCome: true);
    }

    private static void Compare(
        PrimaryHost writer, int victim, HashSet<long> decayed, HashSet<long> suspect, bool isBusy)
    {
        var found = new HashSet<long>();
        foreach (ScrubDifference difference in writer.Differences)
        {
            bool isRight = difference is { Outcome: ScrubOutcome.Repaired } &&
                difference.Replicas == ReplicaMask.Of(victim);
            for (long at = 0; at < difference.LengthBytes; at += DigestBytes)
            {
                long block = difference.OffsetBytes + at;
                isRight &= decayed.Contains(block) || suspect.Contains(block);
                _ = found.Add(difference.OffsetBytes + at);
            }

            if (!isRight)
            {
                throw new HistoryException($"a scrub is wrong: {difference}, of {victim} has decayed");
            }
        }

        if (!isBusy && !decayed.IsSubsetOf(found) || writer.Scrubbed!.BlocksRepaired != found.Count ||
            writer.Scrubbed.BlocksNotRepaired > 0)
        {
            throw new HistoryException(
                $"blocks at {string.Join(", ", decayed)} have decayed, and a scrub says {writer.Scrubbed}");
        }
    }

    private void TurnBits(ReplicaHost victim)
    {
        for (int count = _random.Between(1, 6); count > 0; count--)
        {
            long sector = (long)_random.Below((int)(Newest.SizeBytes / SectorBytes)) * SectorBytes;
            TurnBit(victim, sector + _random.Below(SectorBytes), _random.Below(8));
        }
    }

    private static void TurnBit(ReplicaHost victim, long offsetBytes, int bit)
    {
        Span<byte> sector = stackalloc byte[SectorBytes];
        long start = offsetBytes - offsetBytes % SectorBytes;
        victim.Image.Peek(start, sector);
        sector[(int)(offsetBytes - start)] ^= (byte)(1 << bit);
        victim.Image.Overwrite(start, sector, isDecay: true);
    }

    // What an operator does who knows which one is right.
    private void RestoreFrom(ReplicaHost sound, ReplicaMask members)
    {
        byte[] bytes = new byte[Newest.SizeBytes];
        sound.Image.Peek(0, bytes);
        foreach (int place in members.Without(sound.Place))
        {
            _hosts[place].Image.Overwrite(0, bytes, isDecay: false);
        }
    }

    // So few that a slow replica does not leave the stream for them alone.
    private void WriteSome()
    {
        for (int count = FewWrites; count > 0; count--)
        {
            int length = _random.Between(1, 2);
            int block = _random.Below(_world.Checker.Blocks - length);
            _world.Clock.After(_random.Below(20 * LatencyModel.Millisecond), () =>
            {
                if (_writer is not null)
                {
                    _client.Submit(BlockOperation.Write, block, length);
                }
            });
        }

        Pass(milliseconds: 20);
    }

    private HashSet<long> Differing(ReplicaHost one, ReplicaHost other)
    {
        var differing = new HashSet<long>();
        for (long offset = 0; offset < Newest.SizeBytes; offset += DigestBytes)
        {
            if (!one.Image.IsSame(other.Image, offset, DigestBytes))
            {
                _ = differing.Add(offset);
            }
        }

        return differing;
    }
}
