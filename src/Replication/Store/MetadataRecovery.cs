namespace Ublk.Replication.Store;

/// <summary>
/// Finds the state of a replica in its metadata ring, without guessing. The log writes one record at a time,
/// each after the one before was durable; so of a log that is whole
/// <list type="bullet">
/// <item>everything up to the highest record is whole and chained,</item>
/// <item>the slot after it is what it was before, or torn,</item>
/// <item>all other slots hold what they held one round earlier.</item>
/// </list>
/// A record that is damaged below the highest one is a hole; two damaged ones after it were not torn by one
/// write; a vault or (after a process crash) a live page that names a record beyond the highest one proves
/// that records were lost. All of that is damage, and the replica is to be quarantined. Reads every slot of
/// the ring twice at most.
/// </summary>
public sealed class MetadataRecovery
{
    private readonly IMetadataReader _reader;
    private readonly RingLayout _layout;
    private readonly RingScan _scan;
    private readonly List<StoreFinding> _findings = [];
    private bool _hasTornTail;

    private MetadataRecovery(IMetadataReader reader, RingLayout layout)
    {
        _reader = reader;
        _layout = layout;
        _scan = RingScan.Of(reader, layout);
    }

    /// <summary>Recovers.</summary>
    /// <param name="reader">The metadata file.</param>
    /// <param name="layout">Where the records lie.</param>
    /// <param name="sizeBytes">Size of the volume at format.</param>
    /// <param name="liveRecord">
    /// The last durable record that the live page names, where it is of this start of the machine; otherwise
    /// 0.
    /// </param>
    public static RecoveryResult Run(
        IMetadataReader reader, RingLayout layout, long sizeBytes, ulong liveRecord = 0)
    {
        var recovery = new MetadataRecovery(reader, layout);
        VaultScan vault = VaultScan.Of(reader, layout);
        return recovery.JudgeRing(liveRecord) ?? recovery.JudgeVault(vault) ??
            recovery.Fold(new MetadataState(sizeBytes), vault);
    }

    private RecoveryResult? JudgeRing(ulong liveRecord)
    {
        ulong last = _scan.Highest, begin = _scan.CheckpointBegin;
        if (FindMisfit() is { } misfit)
        {
            return misfit;
        }

        if (last == 0)
        {
            return Damaged(MetadataDamage.NoRecord, 1, "the ring has no record of this replica");
        }

        if (liveRecord > last)
        {
            return Damaged(MetadataDamage.LostRecord, last + 1,
                $"the live page says that record {liveRecord} was durable");
        }

        if (begin == 0 || begin > last || last - begin >= (ulong)_layout.Records)
        {
            return Damaged(MetadataDamage.ImpossibleEntry, last,
                $"it names record {begin} as the begin of the checkpoint");
        }

        for (ulong number = last; number >= begin; number--)
        {
            RingScan.Slot slot = _scan[_layout.SlotOf(number)];
            if (slot.Content != SlotContent.Record || slot.Number != number)
            {
                return Damaged(MetadataDamage.Hole, number,
                    $"it is damaged or was never written, but record {last} is whole");
            }

            RingScan.Slot next = _scan[_layout.SlotOf(number + 1)];
            if (number < last && next.PreviousCrc != slot.Crc)
            {
                return Damaged(MetadataDamage.BrokenChain, number + 1,
                    "it was written after another record than the one that lies before it");
            }
        }

        return JudgeTail(last, begin);
    }

    // Slots that can be told to be wrong by themselves.
    private RecoveryResult? FindMisfit()
    {
        for (int i = 0; i < _layout.Records; i++)
        {
            RingScan.Slot slot = _scan[i];
            if (slot.Content == SlotContent.Newer)
            {
                return DamagedAt(MetadataDamage.Newer, 0, RingLayout.OffsetOfSlot(i),
                    "a later version of this program wrote the metadata");
            }

            if (slot.Content == SlotContent.Record && _layout.SlotOf(slot.Number) != i)
            {
                return DamagedAt(MetadataDamage.Misplaced, slot.Number, RingLayout.OffsetOfSlot(i),
                    $"record {slot.Number} lies in slot {i}, where another one belongs");
            }
        }

        return null;
    }

    // After the last record: one slot may be torn, the others hold what they held a round earlier.
    private RecoveryResult? JudgeTail(ulong last, ulong begin)
    {
        _hasTornTail = !IsOfEarlierRound(last + 1);
        bool isConnected = _hasTornTail;
        for (ulong number = last + 2; number < begin + (ulong)_layout.Records; number++)
        {
            if (IsOfEarlierRound(number))
            {
                isConnected = false;
            }
            else if (isConnected)
            {
                return Damaged(MetadataDamage.UnclearTail, number,
                    $"it and record {last + 1} are both damaged, which one torn write cannot do");
            }
            else
            {
                _findings.Add(new StoreFinding("a record that is no longer needed is damaged",
                    RingLayout.OffsetOfSlot(_layout.SlotOf(number))));
            }
        }

        return null;
    }

    private bool IsOfEarlierRound(ulong number)
    {
        RingScan.Slot slot = _scan[_layout.SlotOf(number)];
        ulong round = (ulong)_layout.Records;
        return number > round
            ? slot.Content == SlotContent.Record && slot.Number == number - round
            : slot.Content == SlotContent.Empty;
    }

    private RecoveryResult? JudgeVault(VaultScan vault)
    {
        if (vault.IsNewer)
        {
            return DamagedAt(MetadataDamage.Newer, 0, _layout.OffsetOfVaultSlot(0),
                "a later version of this program wrote the vault");
        }

        int after = (int)((vault.NewestNumber + 1) % StoreFormat.VaultSlots);
        if (vault.Newest is not { } newest ||
            vault.IsDamaged(after) && vault.IsDamaged((after + 1) % StoreFormat.VaultSlots))
        {
            return DamagedAt(MetadataDamage.NoVault, 0, _layout.OffsetOfVaultSlot(after),
                "more slots of the vault are damaged than one write could have torn");
        }

        if (newest.RingRecord > _scan.Highest)
        {
            return Damaged(MetadataDamage.VaultAhead, _scan.Highest + 1,
                $"the vault says that record {newest.RingRecord} was durable");
        }

        for (int slot = 0; slot < StoreFormat.VaultSlots; slot++)
        {
            if (slot != after && vault.IsDamaged(slot))
            {
                _findings.Add(new StoreFinding(
                    "a slot of the vault that is no longer needed is damaged",
                    _layout.OffsetOfVaultSlot(slot)));
            }
        }

        return null;
    }

    private RecoveryResult Fold(MetadataState state, VaultScan vault)
    {
        var chain = new ChainReader(_reader, _layout, _scan);
        ulong begin = _scan.CheckpointBegin, last = _scan.Highest;
        List<BatchPlace> cutOff = BatchPlace.FindCutOff(_scan, _layout, begin, last);
        int nextCutOff = 0;
        bool isSkipping = false;
        ulong checkpoint = begin;
        for (ulong number = begin; number <= last; number++)
        {
            if (!chain.TryRead(number, out OpenRecord record))
            {
                return Damaged(MetadataDamage.Hole, number, "it could be read once, but not again");
            }

            ReadOnlySpan<byte> left = record.Payload;
            isSkipping &= (record.Header.Flags & RecordFlags.Opened) == RecordFlags.None;
            int at = 0;
            while (MetadataEntry.TryTake(ref left, out MetadataEntryType type, out ReadOnlySpan<byte> entry))
            {
                if (nextCutOff < cutOff.Count && cutOff[nextCutOff] == new BatchPlace(number, at))
                {
                    isSkipping = true;
                    nextCutOff++;
                }

                FoldVerdict verdict = isSkipping ? FoldVerdict.Folded : state.Fold(type, entry);
                if (verdict == FoldVerdict.Folded && !IsPossibleEnd(type, entry, number))
                {
                    verdict = FoldVerdict.Impossible;
                }

                if (verdict != FoldVerdict.Folded)
                {
                    return NotFolded(verdict, number, type);
                }

                checkpoint = CheckpointAfter(type, entry, checkpoint);
                at += entry.Length;
            }

            if (left.Length > 0)
            {
                return NotFolded(FoldVerdict.Impossible, number, default);
            }
        }

        return Sound(state, vault, new LogPosition(
            last, _scan[_layout.SlotOf(last)].Crc, checkpoint, vault.NewestNumber));
    }

    // Also where a batch that was cut off is skipped: its entries do not count, but a checkpoint ends.
    private static bool IsPossibleEnd(MetadataEntryType type, ReadOnlySpan<byte> entry, ulong number) =>
        type != MetadataEntryType.CheckpointEnd ||
        entry.Length == new MarkEntry(type).EncodedBytes && entry.U64(8) <= number;

    private static ulong CheckpointAfter(
        MetadataEntryType type, ReadOnlySpan<byte> entry, ulong checkpoint) =>
        type == MetadataEntryType.CheckpointEnd ? Math.Max(checkpoint, entry.U64(8)) : checkpoint;

    private RecoveryResult Sound(MetadataState state, VaultScan vault, LogPosition position)
    {
        if (vault.Newest!.Promise.Epoch > state.Promise.Epoch)
        {
            return Damaged(MetadataDamage.VaultAhead, position.LastRecord,
                $"the vault has a promise of epoch {vault.Newest.Promise.Epoch}, " +
                $"the ring only of {state.Promise.Epoch}");
        }

        return new RecoveryResult
        {
            Damage = MetadataDamage.None,
            State = state,
            Position = position,
            HasTornTail = _hasTornTail,
            Findings = _findings,
            Vault = vault.Newest,
        };
    }

    private RecoveryResult NotFolded(FoldVerdict verdict, ulong number, MetadataEntryType type) =>
        verdict == FoldVerdict.Unknown
            ? Damaged(MetadataDamage.Newer, number,
                $"it has an entry of type {(ushort)type}, which a later version of this program knows")
            : Damaged(MetadataDamage.ImpossibleEntry, number,
                $"its entry of type {(ushort)type} says what cannot be");

    private RecoveryResult Damaged(MetadataDamage damage, ulong number, string text) =>
        DamagedAt(damage, number, RingLayout.OffsetOfSlot(_layout.SlotOf(number)),
            $"record {number}: {text}");

    private RecoveryResult DamagedAt(MetadataDamage damage, ulong number, long offset, string text) => new()
    {
        Damage = damage,
        Record = number,
        OffsetBytes = offset,
        Text = text,
        Findings = _findings,
    };
}
