using System.Buffers;
using Ublk.Uring;

namespace Ublk.Frontend.Nbd;

/// <content>Replies. What was read goes out from where it lies if the transport can do that.</content>
internal sealed partial class NbdTransmission
{
    private int _unsentPayloads;

    /// <inheritdoc/>
    void Wire.Transport.IPayloadOwner.OnPayloadSent(in IoBuffer payload)
    {
        _unsentPayloads--;
        MadeProgress();
        ReturnMemory(payload);
        GoOn();
    }

    // The only way a request that was accepted leaves our hands.
    private void Finish(int slot)
    {
        Operation operation = _operations[slot];
        bool isRead = operation.Request.Command == NbdCommand.Read;
        if (isRead && operation.Outcome == NbdOutcome.Done && !_isBroken)
        {
            _operations.Return(slot);
            AnswerData(operation.Request, operation.FirstPart);
        }
        else
        {
            ReturnParts(slot);
            _operations.Return(slot);
            Answer(operation.Request, operation.Outcome);
        }

        LeaveIfQuiet();
        GoOn();
    }

    private void Answer(in NbdRequest request, NbdOutcome outcome)
    {
        AnsweredCount++;
        if (_isBroken)
        {
            return;
        }

        Span<byte> room = _output.GetSpan(NbdReplyWriter.MaxHeadBytes);
        _output.Advance(outcome == NbdOutcome.Done
            ? NbdReplyWriter.Done(room, _rules.Style, request)
            : NbdReplyWriter.Error(
                room, _rules.Style, request, NbdOutcomes.ErrorOf(outcome), NbdOutcomes.TextOf(outcome)));
        Flush();
    }

    private void AnswerData(in NbdRequest request, int part)
    {
        AnsweredCount++;
        Span<byte> room = _output.GetSpan(NbdReplyWriter.MaxHeadBytes);
        _output.Advance(NbdReplyWriter.Data(room, _rules.Style, request));
        while (part != NoPart)
        {
            Part sent = _parts[part];
            _parts.Return(part);
            part = sent.Next;
            Send(sent.Memory);
        }

        Flush();
    }

    private void Send(in IoBuffer memory)
    {
        if (_payloads is not null)
        {
            _unsentPayloads++;
            _payloads.Append(memory, this);
            return;
        }

        _output.Write(memory.Span);
        ReturnMemory(memory);
    }

    private void AnswerExtents(in NbdRequest request, ReadOnlySpan<NbdExtent> extents)
    {
        AnsweredCount++;
        Span<byte> room = _output.GetSpan(NbdReplyWriter.ExtentsBytes(_rules.Style, extents.Length));
        _output.Advance(NbdReplyWriter.Extents(
            room, _rules.Style, request, NbdNegotiation.AllocationContextId, extents));
        Flush();
    }
}
