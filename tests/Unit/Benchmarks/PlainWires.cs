using System.Net;
using System.Net.Sockets;

namespace Ublk.Tests.Unit.Benchmarks;

/// <summary>
/// Threads that block on sockets: one on each side, one call for each message. Each write has bytes of its
/// own until it is answered, as any writer's has.
/// </summary>
internal static class BlockingWire
{
    public static WireFigures Play(WireCell cell)
    {
        using var listener = new Socket(SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        using var client = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        client.Connect(listener.LocalEndPoint!);
        using Socket server = listener.Accept();
        server.NoDelay = true;
        var answering = new Thread(() => Answer(server, WireBench.HeadBytes + cell.PayloadBytes));
        answering.Start();
        WireFigures figures = Write(client, cell);
        client.Shutdown(SocketShutdown.Both);
        answering.Join();
        return figures;
    }

    private static WireFigures Write(Socket socket, WireCell cell)
    {
        var messages = new byte[cell.Depth][];
        for (int i = 0; i < messages.Length; i++)
        {
            messages[i] = new byte[WireBench.HeadBytes + cell.PayloadBytes];
            Array.Fill(messages[i], (byte)i);
        }

        byte[] answers = new byte[WireBench.AnswerBytes * cell.Depth];
        long[] sentAt = new long[cell.Depth];
        var clock = new WireClock(cell);
        long sent = 0, answered = 0;
        int partial = 0;
        clock.Start();
        while (clock.IsRunning || answered < sent)
        {
            while (clock.IsRunning && sent - answered < cell.Depth)
            {
                long slot = sent++ % cell.Depth;
                sentAt[slot] = TimeProvider.System.GetTimestamp();
                socket.Send(messages[slot]);
            }

            partial += socket.Receive(answers.AsSpan(0, answers.Length - partial));
            for (; partial >= WireBench.AnswerBytes; partial -= WireBench.AnswerBytes)
            {
                clock.Answered(sentAt[answered++ % cell.Depth]);
            }
        }

        return clock.Stop();
    }

    private static void Answer(Socket socket, int messageBytes)
    {
        byte[] message = new byte[messageBytes];
        byte[] answer = new byte[WireBench.AnswerBytes];
        while (true)
        {
            for (int got = 0; got < messageBytes;)
            {
                int count = socket.Receive(message.AsSpan(got));
                if (count == 0)
                {
                    return;
                }

                got += count;
            }

            socket.Send(answer);
        }
    }
}

/// <summary>A copy of the payload, and nothing else: what moving it costs at least.</summary>
internal static class CopyWire
{
    public static WireFigures Play(WireCell cell)
    {
        const int Batch = 64;
        byte[] from = new byte[cell.PayloadBytes], to = new byte[cell.PayloadBytes];
        var clock = new WireClock(cell);
        clock.Start();
        while (clock.IsRunning)
        {
            long at = TimeProvider.System.GetTimestamp();
            for (int i = 0; i < Batch; i++)
            {
                from.CopyTo(to, 0);
            }

            for (int i = 0; i < Batch; i++)
            {
                clock.Answered(at);
            }
        }

        return clock.Stop();
    }
}
