using Ublk.Replication.Primary;
using Ublk.Replication.State;
using Ublk.Tests.Simulation.Judge;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Simulation.Cluster;

/// <content>
/// One disk at a time changes by itself, in the middle of everything, under replicas that keep checksums:
/// what has changed is never shown and never copied. At the end a scrub repairs it; what no replica had any
/// more the host writes again.
/// </content>
internal sealed partial class ClusterHistory
{
    private ReplicaHost? _victim;

    private void Rot()
    {
        ReplicaMask decide = Newest.Configuration.Members;
        ReplicaHost[] members =
            [.. _hosts.Where(host => decide.Has(host.Place) && host.Machine is not null)];
        if (_victim is not { Image.HasDecayed: true })
        {
            _victim = members.Length > 0 ? members[_random.Below(members.Length)] : null;
        }

        if (_victim is not { Machine: not null } victim)
        {
            return;
        }

        _world.Note($"rot of replica {victim.Place}");
        if (_options.BlockBytes == DigestBytes && _random.Chance(300))
        {
            const int Soon = 10;
            victim.Image.Stray(after: 1 + _random.Below(Soon));
            return;
        }

        for (int count = _random.Between(1, 4); count > 0; count--)
        {
            long sector = (long)_random.Below((int)(victim.Image.SizeBytes / SectorBytes)) * SectorBytes;
            if (victim.MayRot(sector, SectorBytes))
            {
                TurnBit(victim, sector + _random.Below(SectorBytes), _random.Below(8));
            }
        }
    }

    private void MendRot()
    {
        const int MaxScrubs = 20;
        if (!_options.HasChecksums || !_world.HasRot)
        {
            return;
        }

        Settle();
        for (int scrubs = 0; ; scrubs++)
        {
            PrimaryHost writer = _writer!;
            writer.Differences.Clear();
            writer.Scrub();
            RunUntil(() => writer.Scrubbed is not null, EndLimitNs, mustCome: true);
            RunUntil(() => IsQuiet, EndLimitNs, mustCome: true);
            bool isClean = writer.Differences.Count == 0 && writer.Scrubbed!.Absent.IsEmpty;
            if (isClean && Newest.Configuration.Members.Count > 1)
            {
                break;
            }

            if (scrubs == MaxScrubs)
            {
                throw new HistoryException($"scrubs do not repair what has decayed: {writer.Scrubbed}");
            }

            foreach (ScrubDifference lost in writer.Differences)
            {
                if (lost.Outcome != ScrubOutcome.Repaired)
                {
                    WriteAgain(lost.OffsetBytes, lost.LengthBytes);
                }
            }

            if (Newest.Configuration.Members.Count == 1)
            {
                WriteLostAgain();
                break;
            }

            RunUntil(() => _client.OpenCount == 0 && IsQuiet, EndLimitNs, mustCome: true);
        }

        RunUntil(() => _client.OpenCount == 0 && IsQuiet, EndLimitNs, mustCome: true);
        ReplicaHost? left = _hosts.Find(
            host => Newest.Configuration.Members.Has(host.Place) && host.Image.Decayed.Any());
        if (left is not null)
        {
            throw new HistoryException($"replica {left.Place} is decayed after a scrub that found nothing");
        }

        _client.MustRead = true;
    }

    // The last one has nobody to compare with.
    private void WriteLostAgain()
    {
        ReplicaHost last = _hosts[Newest.Configuration.Members.FirstOutside(default, -1)];
        for (long offset = 0; offset < Newest.SizeBytes; offset += DigestBytes)
        {
            if (last.Image.IsSuspect(offset) || _world.LostBlocks.Contains(offset))
            {
                WriteAgain(offset, DigestBytes);
            }
        }
    }

    private void WriteAgain(long offsetBytes, long lengthBytes)
    {
        const int MaxAtOnce = 128;
        int most = Math.Max(1, (64 << 10) / _options.BlockBytes);
        int first = (int)(offsetBytes / _options.BlockBytes);
        int end = (int)Math.Min(_world.Checker.Blocks, (offsetBytes + lengthBytes) / _options.BlockBytes);
        for (int block = first; block < end; block += most)
        {
            RunUntil(() => _client.OpenCount < MaxAtOnce, EndLimitNs, mustCome: true);
            _client.Submit(BlockOperation.Write, block, Math.Min(most, end - block));
        }
    }
}
